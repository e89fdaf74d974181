use proptest::prelude::*;
use serde_json::json;

use super::*;

fn data() -> Value {
    json!({
        "ID": "0123456789ab",
        "Name": "/web",
        "Count": 3,
        "Ratio": 1.5,
        "Empty": "",
        "Nothing": null,
        "Entrypoint": null,
        "PidsLimit": null,
        "Volumes": null,
        "State": { "Running": true, "ExitCode": 0, "Status": "running" },
        "Args": ["-c", "true", "x y"],
        "Labels": { "com.example": "yes", "b": "2" },
        "Ports": { "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }], "81/tcp": null },
    })
}

#[track_caller]
fn fill(template: &str) -> String {
    match Template::parse(template).and_then(|template| template.render(&data())) {
        Ok(text) => text,
        Err(error) => panic!("{template}: {error}"),
    }
}

#[track_caller]
fn refused(template: &str) -> String {
    match Template::parse(template).and_then(|template| template.render(&data())) {
        Ok(text) => panic!("{template} was accepted and gave {text:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn fields_are_filled_in() {
    for (template, expected) in [
        ("plain", "plain"),
        ("{{.ID}}", "0123456789ab"),
        ("{{ .State.Status }}!", "running!"),
        ("{{.State.Running}} {{.State.ExitCode}} {{.Ratio}}", "true 0 1.5"),
        ("{{.Args}} {{.Labels}}", "[-c true x y] map[b:2 com.example:yes]"),
        ("{{.Nothing}} {{.Labels.nope}}", "<no value> <no value>"),
        ("{{.Entrypoint}} {{.PidsLimit}} {{$.Volumes}} {{json .Volumes}}", "[] <nil> map[] null"),
        ("{{$.Count}}{{(.State).Status}}", "3running"),
        ("{{json .Labels}}{{.Args | json}}", r#"{"b":"2","com.example":"yes"}["-c","true","x y"]"#),
        ("{{json .}}", &data().to_string()),
        ("{{\"a\\tb\\u00e9\\x41\\101\"}}{{`a\\b`}}{{'a'}}", "a\tbéAAa\\b97"),
        ("{{true}} {{-3}} {{0x1F}} {{1e3}} {{1_000}} {{.5}}", "true -3 31 1000 1000 0.5"),
        ("{{.Labels \"com.example\"}}{{.Labels \"no\"}}", "yes"),
    ] {
        assert_eq!(fill(template), expected, "{template}");
    }
}

#[test]
fn blocks_choose_and_repeat() {
    for (template, expected) in [
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Empty}}a{{else if eq .Count 3}}b{{else}}c{{end}}", "b"),
        ("{{if not .State.Running}}a{{else if .Nothing}}b{{else}}c{{end}}", "c"),
        ("{{with .State}}{{.Status}}{{end}}{{with .Empty}}x{{else}}none{{end}}", "runningnone"),
        ("{{with .Empty}}x{{else with .ID}}{{.}}{{end}}", "0123456789ab"),
        ("{{range .Args}}<{{.}}>{{end}}", "<-c><true><x y>"),
        ("{{range $i, $a := .Args}}{{if $i}},{{end}}{{$a}}{{end}}", "-c,true,x y"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "b=2;com.example=yes;"),
        ("{{range .Nothing}}x{{else}}empty{{end}}", "empty"),
        ("{{range .Args}}{{if eq . \"true\"}}{{break}}{{end}}{{.}}{{end}}", "-c"),
        ("{{range .Args}}{{if eq . \"true\"}}{{continue}}{{end}}{{.}}{{end}}", "-cx y"),
        ("{{$x := .Count}}{{$x}}{{$x = 4}}{{$x}}", "34"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{$y := 1}}{{end}}{{$x}}", "2"),
        (
            "{{range $p, $b := .Ports}}{{$p}}{{range $b}} -> {{.HostPort}}{{end}};{{end}}",
            "80/tcp -> 8080;81/tcp;",
        ),
        ("{{with $x := .State}}{{$x.Status}}{{end}}", "running"),
    ] {
        assert_eq!(fill(template), expected, "{template}");
    }
}

#[test]
fn dashes_trim_and_comments_vanish() {
    for (template, expected) in [
        ("a  {{- .Count -}}  b", "a3b"),
        ("a  {{- .Count}}  b", "a3  b"),
        ("a {{/* a \"comment */}}b", "a b"),
        ("a {{- /* a comment */ -}} b", "ab"),
        ("{{-3}} {{- 3}}", "-33"),
        ("x \n {{- range .Args}}\n{{.}}\n{{- end}}", "x\n-c\ntrue\nx y"),
    ] {
        assert_eq!(fill(template), expected, "{template}");
    }
}

#[test]
fn functions_do_as_in_go_and_docker() {
    for (template, expected) in [
        ("{{len .Args}}{{len .ID}}{{len .Labels}}", "3122"),
        ("{{index .Args 1}}{{index .Labels \"com.example\"}}{{index .Labels \"no\"}}", "trueyes"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{index .Ports \"80/tcp\" 0 \"HostPort\"}}", "8080"),
        ("{{join .Args \",\"}}|{{split \"a:b\" \":\"}}", "-c,true,x y|[a b]"),
        ("{{lower \"AbC\"}}{{upper .Name}}{{title \"ab cd\"}}{{trim \"  x \"}}", "abc/WEBAb Cdx"),
        ("{{truncate .ID 4}}|{{pad .ID 1 2}}|{{pad .Empty 1 2}}|", "0123| 0123456789ab  ||"),
        ("{{slice .ID 2 4}}{{slice .Args 1}}", "23[true x y]"),
        (
            "{{eq .Count 1 2 3}}{{ne .ID \"x\"}}{{lt 1 2.5}}{{le 2 2}}{{gt \"b\" \"a\"}}{{ge 1 2}}",
            "truetruetruetruetruefalse",
        ),
        ("{{eq .Nothing nil}}{{ne .ID nil}}", "truetrue"),
        ("{{and .Count .Empty 1}}|{{or .Empty .Count}}|{{or false 0}}|{{and 1 2}}", "|3|0|2"),
        // What decides is not followed by what would fail.
        ("{{or .Count (index .Args 9)}}", "3"),
        ("{{print 1 2 \"a\" 3}}|{{println 1 \"a\"}}", "1 2a3|1 a\n"),
        ("{{html \"<a&b>\"}}", "&lt;a&amp;b&gt;"),
        ("{{.Name | upper | printf \"%-6s|%s\" \"a\"}}", "a     |/WEB"),
        ("{{printf \"%5d|%-5d|%05d|%+d|%x\" 42 42 -42 42 255}}", "   42|42   |-0042|+42|ff"),
        (
            "{{printf \"%.2f|%6.1f|%e|%g|%.3g\" 1.005 2.25 1234.5 1e21 1234.5}}",
            "1.00|   2.2|1.234500e+03|1e+21|1.23e+03",
        ),
        ("{{printf \"%q %v %t %%|%T\" \"a\\\"b\" .Args true 1}}", "\"a\\\"b\" [-c true x y] true %|int"),
        ("{{printf \"%s %d\" 3 \"x\"}}", "%!s(int=3) %!d(string=x)"),
        ("{{printf \"%d\"}}{{printf \"a\" 1}}{{printf \"%\"}}", "%!d(MISSING)a%!(EXTRA int=1)%!(NOVERB)"),
        ("{{printf \"%*d\" 5 1}}", "    1"),
    ] {
        assert_eq!(fill(template), expected, "{template}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (template, at, part) in [
        ("ä{{.ID", 2, "never closed"),
        ("{{.ID}", 6, "'}'"),
        ("{{}}", 1, "empty"),
        ("{{ .Nope }}", 4, "no member Nope (there are: "),
        ("{{.ID.Nope}}", 6, "a text"),
        ("{{.State.Nope}}", 9, "no member Nope"),
        ("{{nope .ID}}", 3, "no function nope"),
        ("{{$x}}", 3, "no variable $x"),
        ("{{$x = 1}}", 8, "no variable $x"),
        ("{{if .ID}}x", 1, "never closed by {{end}}"),
        ("x{{end}}", 2, "belongs to no block"),
        ("{{else}}", 1, "belongs to no block"),
        ("{{if 1}}{{else}}{{else}}{{end}}", 17, "belongs to no block"),
        ("{{range .ID}}{{end}}", 9, "a text"),
        ("{{break}}", 1, "belongs to no block"),
        ("{{template \"x\"}}", 1, "template"),
        ("{{/* x }}", 1, "never closed by */"),
        ("{{/* x */ .ID}}", 11, "comment"),
        ("{{\"x}}", 3, "string"),
        ("{{\"\\q\"}}", 4, "\\q"),
        ("{{12x}}", 3, "\"12x\""),
        ("{{index .Args 3}}", 3, "3 is outside"),
        ("{{index .ID \"x\"}}", 3, "index"),
        ("{{len 3}}", 3, "a number"),
        ("{{lt .ID 3}}", 3, "a text cannot be compared with a number"),
        ("{{join .ID \",\"}}", 3, "a text"),
        ("{{upper}}", 3, "one argument"),
        ("{{(.ID}}", 4, "end of the action"),
        ("{{.ID)}}", 6, "\")\""),
        ("{{.ID | }}", 7, "end of the action"),
        ("{{.ID 3}}", 3, "takes no arguments"),
        ("{{pad .ID 1 1000000000}}", 3, "1000000000"),
    ] {
        let error = refused(template);
        assert!(error.contains(part), "{template}: {error}");
        assert!(error.starts_with(&format!("at character {at} ")), "{template}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn nesting_has_an_end() {
    for template in [
        "{{if 1}}".repeat(10_000),
        format!("{{{{{}1", "(".repeat(100_000)),
        format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000)),
        "{{range .Args}}".repeat(10_000),
    ] {
        assert!(Template::parse(&template).is_err());
    }
}

#[test]
fn listings_have_escapes_in_their_text_and_titles_of_their_own() {
    let template =
        Template::parse_with_escapes("{{.ID}}\\t{{\"\\t\"}}{{upper .Name}}\\n{{.Label \"x\"}}").unwrap();
    let titles = json!({ "ID": "CONTAINER ID", "Name": "Name", "Label": "" });
    assert_eq!(template.render_titles(&titles).unwrap(), "CONTAINER ID\t\tName\nx");
    let row = json!({ "ID": "1", "Name": "web", "Label": { "x": "y" } });
    assert_eq!(template.render(&row).unwrap(), "1\t\tWEB\ny");
}

proptest! {
    #[test]
    fn no_template_makes_us_panic(template in "(\\PC|[{}. $|()\"`'%\\\\-]|\\{\\{|\\}\\}|range |if |end|else|\\.Args|\\.ID|\\$x|:=|printf |index |1|9){0,40}") {
        if let Ok(template) = Template::parse(&template) {
            template.render(&data()).ok();
            template.render_titles(&data()).ok();
        }
    }

    #[test]
    fn no_format_makes_us_panic(format in "(%|[-+ #0]|[0-9]|\\*|\\.|[vsdqxXtTbocUefgEG]|\\PC){0,20}", number in any::<f64>(), integer in any::<i64>()) {
        printf::format(&format, &[json!(integer), json!(number), json!("téxt"), json!([1, "a", null]), json!({})]);
    }

    #[test]
    fn text_without_actions_stays_as_it_is(text in "[^{]{0,40}") {
        prop_assert_eq!(Template::parse(&text).unwrap().render(&Value::Null).unwrap(), text);
    }
}
