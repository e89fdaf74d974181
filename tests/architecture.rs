//! The direction of dependencies between modules, and a few more rules that no lint knows: who may name
//! whom, where `unsafe` and `std::process::Command` may stand, what no module is called, how long a file may be. In
//! `circles`: which files of a module depend on each other in a circle, and how far a type is spread.
//!
//! The sources are read as tokens: comments, strings and `pub(crate)` do not count, braces in `use` do.

#[cfg(test)]
#[path = "architecture/circles.rs"]
mod circles;

#[cfg(test)]
mod scan {
    use std::path::{Path, PathBuf};

    /// Which top-level modules each top-level module may name. Arrows point downwards only; the drawing is in
    /// `src/lib.rs`.
    const ARROWS: &[(&str, &[&str])] = &[
        ("main", &["cli"]),
        ("fuzz", &["plugin", "container", "image", "registry", "dns", "archive", "netlink"]),
        ("cli", &["plugin", "engine", "names", "process", "duration"]),
        ("plugin", &["engine", "names"]),
        (
            "engine",
            &[
                "container",
                "image",
                "archive",
                "registry",
                "network",
                "volume",
                "dns",
                "events",
                "netns",
                "store",
                "needs",
                "sys",
                "names",
                "process",
            ],
        ),
        ("container", &["archive", "dns", "store", "netns", "needs", "sys", "names", "process", "duration"]),
        ("image", &["archive", "store", "sys", "names", "process", "duration"]),
        ("registry", &["store", "names"]),
        ("volume", &["store", "sys", "names", "process"]),
        ("events", &["store", "sys", "names", "process"]),
        ("dns", &["netns"]),
        ("archive", &["store", "sys", "names", "process"]),
        ("network", &["nft", "netlink", "netns", "sysctl", "store", "needs", "sys", "names", "process"]),
        ("nft", &["netlink", "netns", "needs", "sys", "names", "process"]),
        ("netlink", &["netns", "sys", "names", "process"]),
        ("netns", &["store", "sys", "names", "process"]),
        ("sysctl", &["store", "sys", "names", "process"]),
        ("store", &["sys", "names", "process"]),
        ("needs", &["sys", "names", "process"]),
        ("sys", &["names", "process"]),
        ("process", &["names"]),
        ("names", &[]),
        ("duration", &[]),
        ("lib", &[]),
    ];
    /// The floors of `src/container`, topmost first: each may name only those below it.
    const FLOORS: &[&str] = &["life", "run", "tree", "request"];
    /// The only module with `unsafe` code and the only one that starts a process.
    const FENCE: &str = "src/sys";
    /// Names that say nothing about what a module owns.
    const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "types", "constants", "helpers", "misc"];
    /// The most lines of a file, its tests not counted.
    const LONGEST: usize = 500;

    pub(crate) struct Token {
        text: String,
        line: usize,
        /// How many inline modules (`mod x { … }`) it stands in.
        inline: usize,
        /// Whether it stands in a `#[cfg(test)] mod`.
        test: bool,
    }

    /// One source file.
    pub(crate) struct Source {
        pub(crate) path: PathBuf,
        lines: usize,
        pub(crate) tokens: Vec<Token>,
    }

    impl Source {
        pub(crate) fn new(path: &str, text: &str) -> Self {
            let tokens = mark_modules(tokens(text));
            Self { path: path.into(), lines: text.lines().count(), tokens }
        }

        /// The path of the file's module: `src/a/mod.rs` is `a`, `src/a/b.rs` is `a::b`, `src/lib.rs` the root.
        pub(crate) fn module(&self) -> Vec<String> {
            let below = self.path.strip_prefix("src").unwrap_or(&self.path).with_extension("");
            let mut parts: Vec<String> =
                below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
                parts.pop();
            }
            parts
        }

        /// The name of the top-level module, or of the crate root.
        pub(crate) fn top(&self) -> String {
            let root = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            self.module().first().cloned().unwrap_or(root)
        }

        pub(crate) fn is_test_file(&self) -> bool {
            self.path.file_stem().is_some_and(|stem| stem == "tests")
        }

        /// Whether the statement around a token has this one as well.
        fn statement_has(&self, at: usize, wanted: &str) -> bool {
            let ends = |token: &&Token| matches!(token.text.as_str(), ";" | "{" | "}");
            let before = self.tokens[..at].iter().rev().take_while(|token| !ends(token));
            let after = self.tokens[at..].iter().take_while(|token| !ends(token));
            before.chain(after).any(|token| token.text == wanted)
        }

        pub(crate) fn text(&self, at: usize) -> &str {
            self.tokens.get(at).map_or("", |token| token.text.as_str())
        }

        /// Every name that stands directly below the crate root in a path of this file, with its line.
        fn names_below_the_root(&self) -> Vec<(usize, String)> {
            let depth = self.module().len();
            let mut names = Vec::new();
            for (at, token) in self.tokens.iter().enumerate() {
                let starts_path = at == 0 || self.text(at - 1) != "::";
                let below = match token.text.as_str() {
                    "crate" | "mydocker" if starts_path => at + 1,
                    "super" if starts_path => {
                        let mut end = at;
                        let mut climbed = 1;
                        while self.text(end + 1) == "::" && self.text(end + 2) == "super" {
                            (end, climbed) = (end + 2, climbed + 1);
                        }
                        if climbed < depth + token.inline {
                            continue;
                        }
                        end + 1
                    }
                    _ => continue,
                };
                if self.text(below) == "::" {
                    let mut found = Vec::new();
                    self.first_segments(below + 1, &mut found);
                    names.extend(found.into_iter().map(|name| (token.line, name)));
                }
            }
            names
        }

        /// Every name that stands directly below `crate::container` in a path of this file, with its line.
        fn names_below_container(&self) -> Vec<(usize, String)> {
            let depth = self.module().len();
            let mut names = Vec::new();
            for (at, token) in self.tokens.iter().enumerate() {
                let starts_path = at == 0 || self.text(at - 1) != "::";
                let below = match token.text.as_str() {
                    "crate" if starts_path && self.text(at + 2) == "container" => at + 3,
                    "super" if starts_path => {
                        let supers = (at..).step_by(2).take_while(|at| self.text(*at) == "super").count();
                        if supers + 1 < depth + token.inline {
                            continue;
                        }
                        at + supers * 2 - 1
                    }
                    _ => continue,
                };
                if self.text(below) == "::" {
                    let mut found = Vec::new();
                    self.first_segments(below + 1, &mut found);
                    names.extend(found.into_iter().map(|name| (token.line, name)));
                }
            }
            names
        }

        /// The first names of a path or of each path of a `{…}`; returns where it ends.
        fn first_segments(&self, at: usize, found: &mut Vec<String>) -> usize {
            if self.text(at) != "{" {
                found.push(self.text(at).to_owned());
                return at + 1;
            }
            let mut next = at + 1;
            while !matches!(self.text(next), "}" | "") {
                next = self.first_segments(next, found);
                // The rest of this element, with whatever braces it has.
                let mut open = 0;
                while !(self.text(next).is_empty() || open == 0 && matches!(self.text(next), "," | "}")) {
                    match self.text(next) {
                        "{" => open += 1,
                        "}" => open -= 1,
                        _ => {}
                    }
                    next += 1;
                }
                next += usize::from(self.text(next) == ",");
            }
            next + 1
        }

        /// Lines that no `#[cfg(test)] mod` covers.
        fn lines_without_tests(&self) -> usize {
            if self.is_test_file() {
                return 0;
            }
            let mut covered: Vec<usize> = Vec::new();
            for run in self.tokens.chunk_by(|a, b| a.test == b.test).filter(|run| run[0].test) {
                covered.push(run[run.len() - 1].line - run[0].line + 1);
            }
            self.lines - covered.iter().sum::<usize>()
        }

        /// Whether the token is part of the program, not of its tests.
        pub(crate) fn is_product(&self, at: usize) -> bool {
            !self.tokens[at].test && !self.is_test_file()
        }

        /// The lines of product code on which this sequence of tokens starts.
        fn lines_with(&self, sequence: &[&str]) -> Vec<usize> {
            let starts = 0..self.tokens.len();
            let matches =
                |at: &usize| sequence.iter().enumerate().all(|(i, text)| self.text(at + i) == *text);
            starts.filter(matches).filter(|at| self.is_product(*at)).map(|at| self.tokens[at].line).collect()
        }
    }

    /// Splits Rust source into names, `::` and single characters. Comments, strings, character literals and
    /// lifetimes are left out.
    fn tokens(text: &str) -> Vec<Token> {
        let chars: Vec<char> = text.chars().collect();
        let mut tokens = Vec::new();
        let (mut at, mut line) = (0, 1);
        while at < chars.len() {
            let rest = &chars[at..];
            let length = skipped(rest);
            let length = if length > 0 {
                length
            } else if rest[0].is_alphanumeric() || rest[0] == '_' {
                let name: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                let length = name.chars().count();
                tokens.push(Token { text: name, line, inline: 0, test: false });
                length
            } else if rest.starts_with(&[':', ':']) {
                tokens.push(Token { text: "::".into(), line, inline: 0, test: false });
                2
            } else {
                tokens.push(Token { text: rest[0].into(), line, inline: 0, test: false });
                1
            };
            line += chars[at..at + length].iter().filter(|c| **c == '\n').count();
            at += length;
        }
        tokens
    }

    /// How many characters of space, comment, literal or lifetime the text starts with.
    fn skipped(text: &[char]) -> usize {
        let starts_with = |pattern: &str| pattern.chars().enumerate().all(|(at, c)| text.get(at) == Some(&c));
        if text[0].is_whitespace() {
            return 1;
        }
        if starts_with("//") {
            return text.iter().take_while(|c| **c != '\n').count();
        }
        if starts_with("/*") {
            return block_comment(text);
        }
        // The prefix of a literal: b, c, r, br, cr, with the hashes of a raw one.
        let letters = text.iter().take(2).take_while(|c| matches!(c, 'b' | 'c' | 'r')).count();
        let raw = letters > 0 && text[letters - 1] == 'r';
        let hashes = if raw { text[letters..].iter().take_while(|c| **c == '#').count() } else { 0 };
        match text.get(letters + hashes) {
            Some('"') if raw => letters + hashes + raw_string(&text[letters + hashes..], hashes),
            Some('"') => letters + quoted(&text[letters..], '"'),
            Some('\'') if letters == 0 || text[..letters] == ['b'] => {
                let quote = &text[letters..];
                // 'a' and '\n' are literals, 'a without a closing quote is a lifetime.
                if quote.get(1) == Some(&'\\') || quote.get(2) == Some(&'\'') {
                    letters + quoted(quote, '\'')
                } else {
                    1 + quote[1..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count()
                }
            }
            _ => 0,
        }
    }

    fn block_comment(text: &[char]) -> usize {
        let (mut at, mut depth) = (0, 0);
        while at < text.len() {
            match (text[at], text.get(at + 1)) {
                ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
                ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
                _ => at += 1,
            }
            if depth == 0 {
                break;
            }
        }
        at
    }

    fn quoted(text: &[char], quote: char) -> usize {
        let mut at = 1;
        while at < text.len() && text[at] != quote {
            at += if text[at] == '\\' { 2 } else { 1 };
        }
        (at + 1).min(text.len())
    }

    fn raw_string(text: &[char], hashes: usize) -> usize {
        let mut at = 1;
        while at < text.len() {
            let closed =
                text[at] == '"' && text[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
            at += 1;
            if closed {
                return at + hashes;
            }
        }
        at
    }

    /// Notes for each token how many inline modules it stands in, and whether one of them is for tests.
    fn mark_modules(mut tokens: Vec<Token>) -> Vec<Token> {
        // For each open brace: whether it opens a module, and whether that one is for tests.
        let mut open: Vec<(bool, bool)> = Vec::new();
        let mut test_from = None;
        for at in 0..tokens.len() {
            let text = |at: usize| tokens.get(at).map_or("", |token: &Token| token.text.as_str());
            let sequence = |start: usize, wanted: &[&str]| {
                wanted.iter().enumerate().all(|(i, wanted)| text(start + i) == *wanted)
            };
            if sequence(at, &["#", "[", "cfg", "(", "test", ")", "]"]) {
                test_from = Some(at);
            }
            match text(at) {
                "{" => {
                    let module = at >= 2 && text(at - 2) == "mod";
                    let test = module && test_from.is_some();
                    open.push((module, test || open.last().is_some_and(|(_, test)| *test)));
                    if let (true, Some(from)) = (test, test_from.take()) {
                        // The attributes above belong to it.
                        tokens[from..at].iter_mut().for_each(|token| token.test = true);
                    }
                    test_from = None;
                }
                // The attribute was for an item without braces.
                ";" => test_from = None,
                _ => {}
            }
            tokens[at].inline = open.iter().filter(|(module, _)| *module).count();
            tokens[at].test |= open.last().is_some_and(|(_, test)| *test);
            if tokens[at].text == "}" {
                open.pop();
            }
        }
        tokens
    }

    fn forbidden_arrows(source: &Source) -> Vec<String> {
        let from = source.top();
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            return vec![format!(
                "{}: the module {from} is not in the table of arrows",
                source.path.display()
            )];
        };
        let wrong = |to: &str| to != from && !allowed.contains(&to);
        let names = source.names_below_the_root().into_iter().filter(|(_, to)| wrong(to));
        names
            .map(|(line, to)| format!("{}:{line}: {from} must not name {to}", source.path.display()))
            .collect()
    }

    fn forbidden_floors(source: &Source) -> Vec<String> {
        let module = source.module();
        let level = |name: &str| FLOORS.iter().position(|floor| *floor == name);
        if module.first().is_none_or(|top| top != "container") || module.len() < 2 {
            return Vec::new();
        }
        let Some(own) = level(&module[1]) else {
            return vec![format!("{}: it stands on none of the floors", source.path.display())];
        };
        let names = source.names_below_container().into_iter();
        let wrong = names.filter(|(_, to)| level(to).is_none_or(|to| to < own));
        wrong
            .map(|(line, to)| format!("{}:{line}: {} must not name {to}", source.path.display(), module[1]))
            .collect()
    }

    fn outside_the_fence(source: &Source) -> Vec<String> {
        if source.path.starts_with(FENCE) || source.path == Path::new(FENCE).with_extension("rs") {
            return Vec::new();
        }
        let mut found: Vec<(usize, &str)> =
            source.lines_with(&["unsafe"]).into_iter().map(|line| (line, "unsafe")).collect();
        // However it is imported, and whatever name it gets: somebody has to write `process::Command` first.
        for at in (0..source.tokens.len()).filter(|at| source.is_product(*at)) {
            if source.text(at) == "process" && source.text(at + 1) == "::" {
                let mut names = Vec::new();
                source.first_segments(at + 2, &mut names);
                if names.iter().any(|name| matches!(name.as_str(), "Command" | "*")) {
                    found.push((source.tokens[at].line, "process::Command"));
                }
            }
        }
        found.iter().map(|(line, what)| format!("{}:{line}: {what}", source.path.display())).collect()
    }

    /// What a file or directory would be made with by whatever umask the caller has.
    fn made_without_a_mode(source: &Source) -> Vec<String> {
        let mut found = Vec::new();
        for at in (0..source.tokens.len()).filter(|at| source.is_product(*at)) {
            let is_call = source.text(at + 1) == "(";
            let makes = match source.text(at) {
                "create_dir" | "create_dir_all" => is_call,
                "create" | "create_new" => {
                    is_call && source.text(at + 2) == "true" && !source.statement_has(at, "mode")
                }
                "DirBuilder" => source.text(at + 2) == "new" && !source.statement_has(at, "mode"),
                _ => false,
            };
            if makes {
                found.push(format!("{}:{}: no mode", source.path.display(), source.tokens[at].line));
            }
        }
        found
    }

    fn empty_names(source: &Source) -> Vec<String> {
        let module = source.module();
        let empty = |name: &&String| {
            EMPTY_NAMES.contains(&name.as_str())
                || (module.len() == 1 && matches!(name.as_str(), "error" | "errors"))
        };
        module.iter().filter(empty).map(|name| format!("{}: {name}", source.path.display())).collect()
    }

    fn too_long(source: &Source) -> Vec<String> {
        let lines = source.lines_without_tests();
        let report = format!("{}: {lines} lines without its tests, at most {LONGEST}", source.path.display());
        if lines > LONGEST { vec![report] } else { Vec::new() }
    }

    /// All files below `src`, with paths relative to the crate.
    pub(crate) fn sources() -> Vec<Source> {
        let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut directories = vec![crate_root.join("src")];
        let mut sources = Vec::new();
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    sources
                        .push(Source::new(path.strip_prefix(crate_root).unwrap().to_str().unwrap(), &text));
                }
            }
        }
        assert!(sources.len() > 10, "the sources were not found");
        sources
    }

    fn check(rule: fn(&Source) -> Vec<String>) {
        let broken: Vec<String> = sources().iter().flat_map(rule).collect();
        assert!(broken.is_empty(), "\n  {}\n", broken.join("\n  "));
    }

    #[test]
    fn modules_depend_downwards_only() {
        check(forbidden_arrows);
    }

    #[test]
    fn floors_of_a_container_use_only_those_below() {
        check(forbidden_floors);
    }

    #[test]
    fn unsafe_code_and_new_processes_stay_behind_the_fence() {
        check(outside_the_fence);
    }

    #[test]
    fn files_and_directories_are_made_with_a_mode() {
        check(made_without_a_mode);
    }

    #[test]
    fn module_names_say_what_a_module_owns() {
        check(empty_names);
    }

    #[test]
    fn files_stay_short() {
        check(too_long);
    }

    // ---- the scanner itself ----

    fn names(path: &str, text: &str) -> Vec<String> {
        Source::new(path, text).names_below_the_root().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn the_table_of_arrows_has_no_circle() {
        let place = |name: &str| ARROWS.iter().position(|(from, _)| *from == name).unwrap();
        for (from, allowed) in ARROWS.iter().filter(|(from, _)| *from != "process") {
            for to in *allowed {
                assert!(place(from) < place(to), "{from} -> {to} does not point downwards");
            }
        }
    }

    #[test]
    fn paths_from_the_crate_root_are_found_in_every_spelling() {
        assert_eq!(names("src/nft/mod.rs", "use crate::engine::Run;"), ["engine"]);
        assert_eq!(
            names("src/nft/mod.rs", "fn f() -> crate::cli::X { crate::names::y() }"),
            ["cli", "names"]
        );
        assert_eq!(
            names(
                "src/nft/mod.rs",
                "use crate::{a::{b, c::d}, e, f::g as h, {i::j}, k::*, };\nuse crate::z;"
            ),
            ["a", "e", "f", "i", "k", "z"]
        );
        assert_eq!(names("src/nft/mod.rs", "use crate::*;"), ["*"]);
        assert_eq!(names("src/nft/mod.rs", "macro_rules! m { () => { $crate::cli::x } }"), ["cli"]);
        assert_eq!(names("src/main.rs", "fn main() { mydocker::engine::run() }"), ["engine"]);
    }

    #[test]
    fn super_counts_when_it_climbs_to_the_root() {
        assert_eq!(names("src/nft/mod.rs", "use super::engine;"), ["engine"]);
        assert_eq!(names("src/nft.rs", "use super::{engine, cli::x};"), ["engine", "cli"]);
        assert_eq!(names("src/nft/dump.rs", "use super::engine; use super::super::cli;"), ["cli"]);
        assert_eq!(names("src/nft.rs", "mod tests { use super::engine; use super::super::cli; }"), ["cli"]);
        assert_eq!(names("src/nft.rs", "fn f() { use super::cli; }"), ["cli"]);
    }

    #[test]
    fn words_in_comments_strings_and_visibilities_do_not_count() {
        let text = r###"
            //! crate::cli
            /* crate::cli /* nested */ crate::cli */
            pub(crate) struct S<'a>(&'a str, char);
            const A: &str = "crate::cli \" crate::cli";
            const B: &str = r#"crate::cli " crate::cli"#;
            const C: &[u8] = b"unsafe"; const D: char = '"'; const E: char = '\''; const F: u8 = b'\\';
            use crate::names::X; // crate::cli
        "###;
        assert_eq!(names("src/nft.rs", text), ["names"]);
        assert!(outside_the_fence(&Source::new("src/nft.rs", text)).is_empty());
    }

    #[test]
    fn a_forbidden_arrow_and_an_unknown_module_are_reported() {
        let broken = forbidden_arrows(&Source::new("src/nft/socket.rs", "\nuse crate::container::X;"));
        assert_eq!(broken, ["src/nft/socket.rs:2: nft must not name container"]);
        assert!(forbidden_arrows(&Source::new("src/nft/socket.rs", "use crate::{nft::X, sys};")).is_empty());
        assert_eq!(forbidden_arrows(&Source::new("src/new.rs", "")).len(), 1);
        assert_eq!(forbidden_arrows(&Source::new("src/main.rs", "use mydocker::store;")).len(), 1);
    }

    #[test]
    fn a_floor_that_uses_a_higher_one_is_reported() {
        let broken = |path: &str, text: &str| forbidden_floors(&Source::new(path, text));
        let tree = "src/container/tree/rootfs.rs";
        assert_eq!(
            broken(tree, "use crate::container::life::X;"),
            ["src/container/tree/rootfs.rs:1: tree must not name life"]
        );
        assert_eq!(broken(tree, "use crate::container::{request::a, run::{b, c}};").len(), 1);
        assert_eq!(broken(tree, "use super::super::run::b; use super::files;").len(), 1);
        assert_eq!(
            broken("src/container/request/mounts/parse.rs", "use super::super::super::tree::x;").len(),
            1
        );
        assert_eq!(broken("src/container/new.rs", "").len(), 1);
        assert!(
            broken("src/container/life/log/mod.rs", "use crate::container::run::X; use super::y;").is_empty()
        );
        assert!(broken("src/engine/mod.rs", "use crate::container::life::X;").is_empty());
    }

    #[test]
    fn what_is_made_without_a_mode_is_reported() {
        let text = "fn f() { fs::create_dir_all(p)?; }\nfn g() { o.write(true).create(true).open(p)?; }\n\
            fn h() { DirBuilder::new().recursive(true).create(p)?; }\n\
            fn i() { DirBuilder::new().mode(7).create(p)?; o.mode(7).create_new(true).open(p)?; o.create(&p); }";
        assert_eq!(made_without_a_mode(&Source::new("src/store.rs", text)).len(), 3);
    }

    #[test]
    fn unsafe_and_new_processes_are_reported_outside_the_fence_and_tests() {
        let text = "fn f() { unsafe { g() } }\nfn g() { std::process::Command::new(\"ls\"); }";
        assert_eq!(
            outside_the_fence(&Source::new("src/store.rs", text)),
            ["src/store.rs:1: unsafe", "src/store.rs:2: process::Command"]
        );
        for fence in ["src/sys.rs", "src/sys/mounts.rs"] {
            assert!(outside_the_fence(&Source::new(fence, text)).is_empty(), "{fence}");
        }
        for (import, count) in [
            ("use std::process::{ExitCode, Command as C, Stdio};", 1),
            ("use std::process::*;", 1),
            ("use std::process; fn f() { process::Command::new(\"ls\"); }", 1),
            ("use std::process::ExitCode; use crate::container::Command; fn f() { Command::new(); }", 0),
        ] {
            assert_eq!(outside_the_fence(&Source::new("src/store.rs", import)).len(), count, "{import}");
        }
        let in_tests = format!("#[cfg(test)]\nmod tests {{ {text} }}");
        assert!(outside_the_fence(&Source::new("src/store.rs", &in_tests)).is_empty());
        let after_tests = format!("#[cfg(test)]\nmod tests {{ }} {text}");
        assert_eq!(outside_the_fence(&Source::new("src/store.rs", &after_tests)).len(), 2);
        let other_item = format!("#[cfg(test)]\nuse x;\nmod product {{ {text} }}");
        assert_eq!(outside_the_fence(&Source::new("src/store.rs", &other_item)).len(), 2);
    }

    #[test]
    fn long_files_and_empty_names_are_reported() {
        let long = "fn f() {}\n".repeat(LONGEST);
        let tests = "#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
        let source = |text: String| Source::new("src/store.rs", &text);
        assert!(too_long(&source(format!("{long}{tests}"))).is_empty());
        assert_eq!(source(format!("{long}{tests}")).lines_without_tests(), LONGEST);
        assert_eq!(too_long(&source(format!("{long}fn g() {{}}\n{tests}"))).len(), 1);
        for (path, count) in [
            ("src/utils.rs", 1),
            ("src/network/types.rs", 1),
            ("src/error.rs", 1),
            ("src/network/error.rs", 0),
        ] {
            assert_eq!(empty_names(&Source::new(path, "")).len(), count, "{path}");
        }
    }
}
