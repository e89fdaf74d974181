use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<PortRequest, PortError> {
    text.parse()
}

const fn one(port: u16) -> PortRange {
    PortRange { first: port, last: port }
}

const fn ports(first: u16, last: u16) -> PortRange {
    PortRange { first, last }
}

#[test]
fn the_forms_of_dockers_grammar() {
    let tcp = |host_ip: Option<&str>, host, container| {
        let host_ip = host_ip.map(|text| text.parse().unwrap());
        Ok(PortRequest { host_ip, host, container, proto: Proto::Tcp })
    };
    assert_eq!(parse("8080:80"), tcp(None, Some(one(8080)), one(80)));
    assert_eq!(parse("80"), tcp(None, None, one(80)));
    assert_eq!(parse(":80"), tcp(None, None, one(80)));
    assert_eq!(parse("::80"), tcp(None, None, one(80)));
    assert_eq!(parse(":8080:80"), tcp(None, Some(one(8080)), one(80)));
    assert_eq!(parse("80-90"), tcp(None, None, ports(80, 90)));
    assert_eq!(parse("0.0.0.0:8080:80"), tcp(Some("0.0.0.0"), Some(one(8080)), one(80)));
    assert_eq!(parse("127.0.0.1:8080:80"), tcp(Some("127.0.0.1"), Some(one(8080)), one(80)));
    assert_eq!(parse("127.0.0.1::80"), tcp(Some("127.0.0.1"), None, one(80)));
    assert_eq!(parse("8000-8010:80-90"), tcp(None, Some(ports(8000, 8010)), ports(80, 90)));
    assert_eq!(parse("8000-8010:80"), tcp(None, Some(ports(8000, 8010)), one(80)));
    assert_eq!(parse("[::]:8080:80"), tcp(Some("::"), Some(one(8080)), one(80)));
    assert_eq!(parse(":::8080:80"), tcp(Some("::"), Some(one(8080)), one(80)));
    assert_eq!(parse("[2001:db8::1]::80"), tcp(Some("2001:db8::1"), None, one(80)));
    assert_eq!(parse("2001:db8::1:8080:80"), tcp(Some("2001:db8::1"), Some(one(8080)), one(80)));
    assert_eq!(parse("[::ffff:192.0.2.1]:1:2"), tcp(Some("192.0.2.1"), Some(one(1)), one(2)));
    assert_eq!(parse("1-65535:1-65535"), tcp(None, Some(ports(1, 65535)), ports(1, 65535)));
    assert_eq!(parse("53:53/UDP").unwrap().proto, Proto::Udp);
    assert_eq!(parse("53:53/Sctp").unwrap().proto, Proto::Sctp);
}

#[test]
fn exposed_ports_name_nothing_of_the_host() {
    let exposed = |text: &str| text.parse::<ExposedPort>();
    assert_eq!(exposed("80"), Ok(ExposedPort { container: one(80), proto: Proto::Tcp }));
    assert_eq!(exposed("80-90/UDP"), Ok(ExposedPort { container: ports(80, 90), proto: Proto::Udp }));
    for bad in ["", "8080:80", "/tcp", "0", "90-80", "80/icmp", "a"] {
        let error = exposed(bad).unwrap_err().to_string();
        assert!(error.contains(&format!("\"{bad}\"")), "{bad:?}: {error}");
    }
}

#[test]
fn refuses_and_quotes_what_is_malformed() {
    for (bad, why) in [
        ("", "not a port mapping"),
        (":", "not a port mapping"),
        ("a:80", "\"a\""),
        ("80:", "not a port mapping"),
        ("0:80", "1 to 65535"),
        ("80:0", "1 to 65535"),
        ("65536:80", "1 to 65535"),
        ("80:65536", "1 to 65535"),
        ("80:80/icmp", "protocol"),
        ("80:80/", "protocol"),
        ("80:80/tcp/udp", "protocol"),
        ("1:2:3:4", "\"1:2\" in"),
        ("1.2.3:80:80", "not an IP address"),
        ("localhost:80:80", "not an IP address"),
        ("[127.0.0.1]:80:80", "not an IP address"),
        ("[::1:80:80", "not an IP address"),
        ("[fe80::1%eth0]:80:80", "not an IP address"),
        ("8000-8010:80-81", "equally long"),
        ("8000:80-81", "equally long"),
        ("90-80:80-90", "ends before it starts"),
        ("80-90:90-80", "ends before it starts"),
        ("+80:80", "\"+80\""),
        ("80 :80", "\"80 \""),
        ("-1:80", "\"\""),
        ("80-:80", "\"\""),
        ("[::1]:80:80", "loopback"),
        ("::1:80:80", "loopback"),
        ("[fe80::1]:80:80", "link-local"),
        ("[ff02::1]:80:80", "one host"),
        ("224.0.0.1:80:80", "one host"),
        ("255.255.255.255:80:80", "one host"),
    ] {
        let error = parse(bad).unwrap_err().to_string();
        assert!(error.contains(&format!("\"{bad}\"")) && error.contains(why), "{bad:?}: {error}");
    }
}

fn mapping(text: &str) -> PortMapping {
    let PortRequest { host_ip, host, container, proto } = parse(text).unwrap();
    let host_ip = host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    PortMapping { host_ip, host: host.unwrap(), container, proto }
}

#[test]
fn an_equal_range_is_one_element_and_a_shifted_one_is_an_element_for_each_port() {
    let to = "10.0.0.2".parse().unwrap();
    let texts = |elements: Result<Vec<Element>, ElementError>| -> Vec<String> {
        elements.unwrap().iter().map(ToString::to_string).collect()
    };
    let elements = |text: &str| texts(mapping(text).elements(to, "web"));
    let exclusions = |text: &str| texts(mapping(text).exclusions(to, "web"));
    assert_eq!(elements("8080:80"), ["published4 { 0.0.0.0 . tcp . 8080 comment \"web\" : 10.0.0.2 . 80 }"]);
    assert_eq!(exclusions("8080:80"), ["claims { 406:1f90::/32 comment \"web\" }"]);
    assert_eq!(
        elements("20000-29999:20000-29999"),
        [
            "published_ranges4 { 0.0.0.0/0 . tcp . 20000-29999 comment \"web\" : 10.0.0.2 }",
            "claims { 406:4e20::-406:752f:ffff:ffff:ffff:ffff:ffff:ffff comment \"web\" }",
        ]
    );
    assert_eq!(exclusions("20000-29999:20000-29999"), [""; 0]);
    let shifted = elements("8000-8002:80-82");
    assert_eq!(shifted.len(), 3);
    assert_eq!(shifted[2], "published4 { 0.0.0.0 . tcp . 8002 comment \"web\" : 10.0.0.2 . 82 }");
    assert_eq!(exclusions("8000-8002:80-82").len(), 1);
    assert_eq!(
        elements("127.0.0.1:80:80"),
        [
            "published4 { 127.0.0.1 . tcp . 80 comment \"web\" : 10.0.0.2 . 80 }",
            "claims { 406:50::7f00:1 comment \"web\" }",
        ]
    );
    assert_eq!(
        exclusions("127.0.0.1:80:80"),
        ["published4 { 0.0.0.0 . tcp . 80 comment \"web\" : 10.0.0.2 . 80 }"]
    );
    assert_eq!(elements("127.0.0.1:80-89:80-89").len(), 1 + 10, "one range, ten claims");
}

#[test]
fn mappings_are_shown_as_docker_shows_them() {
    assert_eq!(mapping("8080:80").to_string(), "0.0.0.0:8080->80/tcp");
    assert_eq!(mapping("[::]:8080:80/udp").to_string(), "[::]:8080->80/udp");
    assert_eq!(mapping("8000-8002:80-82").to_string(), "0.0.0.0:8000-8002->80-82/tcp");
    assert_eq!(mapping("[2001:db8::1]:80:80").host_side(), "[2001:db8::1]:80/tcp");
}

#[test]
fn consecutive_ports_are_listed_as_one_range() {
    let listed = |texts: &[&str]| -> Vec<String> {
        let mappings: Vec<_> = texts.iter().map(|text| mapping(text)).collect();
        compact(&mappings).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        listed(&["8001:8001", "8000:8000", "8002-8010:8002-8010", "9000:91", "8011:8011/udp"]),
        ["0.0.0.0:9000->91/tcp", "0.0.0.0:8000-8010->8000-8010/tcp", "0.0.0.0:8011->8011/udp"]
    );
    assert_eq!(
        listed(&["8001:81", "8000:80", "7000-7009:90-99"]),
        ["0.0.0.0:8000->80/tcp", "0.0.0.0:8001->81/tcp", "0.0.0.0:7000-7009->90-99/tcp"]
    );
    assert_eq!(
        listed(&["8000:80", "[::]:8001:81", "127.0.0.1:8002:82"]),
        ["0.0.0.0:8000->80/tcp", "[::]:8001->81/tcp", "127.0.0.1:8002->82/tcp"]
    );
    assert_eq!(listed(&["8000:80", "8001:80"]), ["0.0.0.0:8000->80/tcp", "0.0.0.0:8001->80/tcp"]);
}

#[test]
fn what_is_exposed_and_not_published_is_listed() {
    let published = [mapping("8081:81"), mapping("9000-9001:90-91")];
    let exposed = ["80/tcp", "82", "81-81", "81/udp", "92/tcp", "83/tcp", "91/tcp", "80/tcp", "nonsense"];
    let listed = unpublished(&exposed.map(str::to_owned), &published);
    let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["80/tcp", "82-83/tcp", "92/tcp", "81/udp"]);
}

#[test]
fn requests_that_exclude_each_other_are_found() {
    let collision = |texts: &[&str]| {
        let requests: Vec<_> = texts.iter().map(|text| parse(text).unwrap()).collect();
        first_collision(&requests).map(ToString::to_string)
    };
    for (one, two) in [
        ("80:80", "80:81"),
        ("80:80", "80:80"),
        ("80:80", "127.0.0.1:80:81"),
        ("80:80", "[::]:80:81"),
        ("0.0.0.0:80:80", "127.0.0.1:80:81"),
        ("8000-8010:8000-8010", "8010:1"),
        ("8005:1", "8000-8010:80-90"),
        ("[::]:80:80", "[2001:db8::1]:80:81"),
    ] {
        assert!(collision(&[one, two]).is_some(), "{one} {two}");
        assert!(collision(&[two, one]).is_some(), "{two} {one}");
    }
    for (one, two) in [
        ("80:80", "80:80/udp"),
        ("80:80", "81:80"),
        ("127.0.0.1:80:80", "127.0.0.2:80:80"),
        ("0.0.0.0:80:80", "[::]:80:80"),
        ("80", "80"),
        ("8000-8010:80", "8000-8010:81"),
        ("8000-8010:80", "8000:81"),
    ] {
        assert_eq!(collision(&[one, two]), None, "{one} {two}");
    }
}

fn address() -> impl Strategy<Value = Option<IpAddr>> {
    let v4 = any::<[u8; 4]>().prop_map(IpAddr::from);
    let v6 = any::<[u16; 8]>().prop_map(|groups| IpAddr::from(groups).to_canonical());
    prop::option::of(prop_oneof![
        v4,
        v6,
        Just(Ipv4Addr::UNSPECIFIED.into()),
        Just(Ipv6Addr::UNSPECIFIED.into())
    ])
}

fn a_range() -> impl Strategy<Value = PortRange> {
    (1..=u16::MAX, 0..100_u16).prop_map(|(first, more)| ports(first, first.saturating_add(more)))
}

/// Each host port with its container port.
fn pairs(mappings: &[PortMapping]) -> Vec<(u16, u16)> {
    let mut pairs: Vec<_> =
        mappings.iter().flat_map(|mapping| mapping.host.ports().zip(mapping.container.ports())).collect();
    pairs.sort_unstable();
    pairs
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "[0-9.:/a-fudp\\[\\]-]{0,24}") {
        if let Ok(request) = parse(&text) {
            prop_assert_eq!(parse(&request.to_string()).unwrap(), request.clone());
            prop_assert!(request.container.first > 0 && request.container.first <= request.container.last);
            let is_even = |host: PortRange| host.count() == request.container.count();
            prop_assert!(request.container.count() == 1 || request.host.is_none_or(is_even));
        }
    }

    #[test]
    fn what_is_written_is_read_again(
        host_ip in address(),
        container in a_range(),
        shift in prop::option::of(any::<u16>()),
        proto in prop_oneof![Just(Proto::Tcp), Just(Proto::Udp), Just(Proto::Sctp)],
    ) {
        let host = shift.and_then(|shift| {
            let (first, last) = (container.first.checked_add(shift)?, container.last.checked_add(shift)?);
            Some(ports(first, last))
        });
        let request = PortRequest { host_ip, host, container, proto };
        match parse(&request.to_string()) {
            Ok(parsed) => prop_assert_eq!(parsed, request),
            Err(error) => prop_assert!(error.to_string().contains("cannot be published on")),
        }
    }

    #[test]
    fn compacting_keeps_every_port(starts in prop::collection::vec((1..200_u16, 1..200_u16, 0..5_u16), 0..12)) {
        let mappings: Vec<_> = starts.iter().map(|(host, container, more)| PortMapping {
            host_ip: Ipv4Addr::UNSPECIFIED.into(),
            host: ports(*host, host + more),
            container: ports(*container, container + more),
            proto: Proto::Tcp,
        }).collect();
        prop_assert_eq!(pairs(&compact(&mappings)), pairs(&mappings));
    }
}
