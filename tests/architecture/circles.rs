//! Files of one module that depend on each other in a circle, and types whose methods lie in many files.
//!
//! A file depends on another one of its module if it names something that is defined there, or calls a method that is
//! defined there of a type that it names. Of `self.x()`, the type is known; of any other receiver it is not, and all
//! types count that the file names.

use std::collections::{BTreeMap, BTreeSet};

use crate::scan::Source;

/// In how many files a type may have methods of its own.
const MOST_FILES: usize = 5;
/// Types that are still in more, and in how many.
const SPREAD: &[(&str, usize)] = &[];
/// The modules that are looked at, and how many of their files still are in circles.
const IN_CIRCLES: &[(&str, usize)] = &[("engine", 0), ("network", 0)];

/// A file by the path of its module: `["engine", "front", "containers"]`.
type File = Vec<String>;

/// A method that is not a trait's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Method {
    of: String,
    name: String,
    has_self: bool,
}

impl Source {
    /// The end of the block that opens at `at`.
    fn block_end(&self, at: usize) -> usize {
        let mut depth = 0;
        for end in at..self.tokens.len() {
            match self.text(end) {
                "{" => depth += 1,
                "}" if depth == 1 => return end,
                "}" => depth -= 1,
                _ => {}
            }
        }
        self.tokens.len()
    }

    /// The blocks `impl Type { … }` of the product: the type, and where the block begins and ends.
    fn inherent_impls(&self) -> Vec<(String, std::ops::Range<usize>)> {
        let mut found = Vec::new();
        for at in (0..self.tokens.len()).filter(|at| self.text(*at) == "impl" && self.is_product(*at)) {
            // `impl Trait` in a signature is no item.
            if at > 0 && !matches!(self.text(at - 1), "}" | ";" | "]" | "unsafe") {
                continue;
            }
            let (mut next, mut angles, mut name, mut is_trait) = (at + 1, 0, None, false);
            while !matches!(self.text(next), "{" | ";" | "") {
                match self.text(next) {
                    "<" => angles += 1,
                    // Not that of an arrow.
                    ">" if self.text(next - 1) != "-" => angles -= 1,
                    "for" if angles == 0 => is_trait = true,
                    "where" if angles == 0 => break,
                    text if angles == 0 && text.starts_with(char::is_alphabetic) => {
                        name = Some(text.to_owned());
                    }
                    _ => {}
                }
                next += 1;
            }
            while !matches!(self.text(next), "{" | "") {
                next += 1;
            }
            if let Some(name) = name.filter(|_| !is_trait) {
                found.push((name, next..self.block_end(next)));
            }
        }
        found
    }

    fn methods(&self) -> Vec<Method> {
        let mut methods = Vec::new();
        for (of, within) in self.inherent_impls() {
            let mut depth = 0;
            for at in within.clone() {
                match self.text(at) {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    "fn" if depth == 1 => {
                        let parameters = (at..within.end).find(|at| self.text(*at) == "(").unwrap_or(at);
                        let first = (parameters + 1..within.end)
                            .take_while(|at| !matches!(self.text(*at), "," | ")"));
                        let has_self = first.map(|at| self.text(at)).any(|text| text == "self");
                        let name = self.text(at + 1).to_owned();
                        methods.push(Method { of: of.clone(), name, has_self });
                    }
                    _ => {}
                }
            }
        }
        methods
    }

    /// Whether the file defines this type.
    fn defines(&self, name: &str) -> bool {
        ["struct", "enum", "union", "trait"].iter().any(|kind| {
            let starts = |at: &usize| self.text(*at) == *kind && self.text(at + 1) == name;
            (0..self.tokens.len()).any(|at| starts(&at) && self.is_product(at))
        })
    }

    /// All names in the product, but those of an enum's variants where they are used: `Kind::Network` is no `Network`.
    fn names(&self) -> BTreeSet<&str> {
        let is_variant = |at: usize| {
            at >= 2
                && self.text(at - 1) == "::"
                && self.text(at - 2).starts_with(char::is_uppercase)
                && self.text(at - 2) != "Self"
        };
        let product = (0..self.tokens.len()).filter(|at| self.is_product(*at) && !is_variant(*at));
        product.map(|at| self.text(at)).collect()
    }

    /// Every path of the product that begins with `crate`, `super` or `self`, from the crate root. Those of `pub use`
    /// are left out: who passes something on does not depend on it.
    fn absolute_paths(&self) -> Vec<File> {
        let own = self.module();
        let mut paths = Vec::new();
        for at in (0..self.tokens.len()).filter(|at| self.is_product(*at)) {
            let is_start = at == 0 || self.text(at - 1) != "::";
            let is_path = is_start && self.text(at + 1) == "::";
            let passes_on = at >= 2 && self.text(at - 1) == "use" && matches!(self.text(at - 2), "pub" | ")");
            if !is_path || passes_on {
                continue;
            }
            let mut base = match self.text(at) {
                "crate" => Vec::new(),
                "self" => own.clone(),
                "super" => own[..own.len().saturating_sub(1)].to_vec(),
                // In a root file, what it declares is named without more ado.
                name if at > 0 && self.text(at - 1) == "use" && self.is_root() && !name.is_empty() => {
                    let mut base = own.clone();
                    base.push(name.to_owned());
                    base
                }
                _ => continue,
            };
            let mut next = at + 2;
            while self.text(next) == "super" {
                base.pop();
                next += 2;
            }
            self.expand(&base, next, &mut paths);
        }
        paths
    }

    /// Whether the file is that of a module with files below it.
    fn is_root(&self) -> bool {
        self.path.file_stem().is_some_and(|stem| stem == "mod")
    }

    /// The paths that go on at `at`: one, or those of a `{…}`. Returns where they end.
    fn expand(&self, base: &[String], at: usize, paths: &mut Vec<File>) -> usize {
        if self.text(at) == "{" {
            let mut next = at + 1;
            while !matches!(self.text(next), "}" | "") {
                next = self.expand(base, next, paths);
                while !matches!(self.text(next), "," | "}" | "") {
                    next += 1;
                }
                next += usize::from(self.text(next) == ",");
            }
            return next + 1;
        }
        let mut path = base.to_vec();
        if self.text(at) != "self" {
            path.push(self.text(at).to_owned());
        }
        if self.text(at + 1) == "::" && self.text(at + 2) != "<" {
            return self.expand(&path, at + 2, paths);
        }
        paths.push(path);
        at + 1
    }

    /// What a module's own file passes on: each name, and the path that it stands for.
    fn passed_on(&self) -> BTreeMap<String, File> {
        let mut passed = BTreeMap::new();
        for at in (0..self.tokens.len()).filter(|at| self.text(*at) == "use") {
            if at == 0 || !matches!(self.text(at - 1), "pub" | ")") {
                continue;
            }
            let mut paths = Vec::new();
            self.expand(&self.module(), at + 1, &mut paths);
            passed.extend(paths.into_iter().filter_map(|path| Some((path.last()?.clone(), path))));
        }
        passed
    }
}

/// The files of one module and what each depends on.
struct Graph<'a> {
    files: BTreeMap<File, &'a Source>,
    /// What each file passes on under another path.
    passed_on: BTreeMap<File, BTreeMap<String, File>>,
    arrows: BTreeMap<File, BTreeSet<File>>,
}

impl<'a> Graph<'a> {
    fn new(sources: &'a [Source], module: &str) -> Self {
        let product = sources.iter().filter(|source| source.top() == module && !source.is_test_file());
        let files: BTreeMap<File, &Source> = product.map(|source| (source.module(), source)).collect();
        let passed_on = files.iter().map(|(file, source)| (file.clone(), source.passed_on())).collect();
        let mut graph = Self { files, passed_on, arrows: BTreeMap::new() };
        let methods: Vec<(&File, Vec<Method>)> =
            graph.files.iter().map(|(file, source)| (file, source.methods())).collect();
        for file in graph.files.keys() {
            let mut to = graph.named_by(file);
            to.extend(graph.called_by(file, &methods));
            to.remove(file);
            graph.arrows.insert(file.clone(), to);
        }
        graph
    }

    /// The file that defines what a path leads to.
    fn resolve(&self, path: &[String]) -> Option<File> {
        let longest = (1..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (file, rest) = path.split_at(longest);
        match rest.first().and_then(|name| self.passed_on[file].get(name)) {
            Some(path) if path.as_slice() != file => self.resolve(path).or(Some(file.to_vec())),
            _ => Some(file.to_vec()),
        }
    }

    fn named_by(&self, file: &File) -> BTreeSet<File> {
        let paths = self.files[file].absolute_paths();
        paths.iter().filter_map(|path| self.resolve(path)).collect()
    }

    fn called_by(&self, file: &File, methods: &[(&File, Vec<Method>)]) -> BTreeSet<File> {
        let source = self.files[file];
        let (blocks, names) = (source.inherent_impls(), source.names());
        let is_call =
            |at: &usize| source.text(*at) == "." && source.text(at + 2) == "(" && source.is_product(*at);
        let mut called = BTreeSet::new();
        for at in (0..source.tokens.len()).filter(is_call) {
            let is_self = source.text(at - 1) == "self" && (at < 2 || source.text(at - 2) != ".");
            let own = blocks.iter().find(|(_, within)| within.contains(&at)).map(|(of, _)| of);
            let is_its = |method: &Method| {
                method.has_self
                    && method.name == source.text(at + 1)
                    && if is_self { own == Some(&method.of) } else { names.contains(method.of.as_str()) }
            };
            let others = methods.iter().filter(|(other, _)| *other != file);
            let with_it = others.filter(|(_, methods)| methods.iter().any(is_its));
            called.extend(with_it.map(|(other, _)| (*other).clone()));
        }
        called
    }

    /// The files that depend on themselves by way of others, each with all that are in a circle with it.
    fn circles(&self) -> BTreeMap<File, BTreeSet<File>> {
        let reached: BTreeMap<&File, BTreeSet<&File>> =
            self.arrows.keys().map(|file| (file, self.reached_from(file))).collect();
        let with = |file: &File| {
            let both = reached[file].iter().filter(|other| reached[**other].contains(file));
            both.map(|other| (*other).clone()).collect::<BTreeSet<File>>()
        };
        let circles = self.arrows.keys().map(|file| (file.clone(), with(file)));
        circles.filter(|(_, circle)| circle.len() > 1).collect()
    }

    fn reached_from(&self, file: &File) -> BTreeSet<&File> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&File> = self.arrows[file].iter().collect();
        while let Some(file) = next.pop() {
            if reached.insert(file) {
                next.extend(&self.arrows[file]);
            }
        }
        reached
    }
}

/// In which files each type has methods. A type is known by its name and the module at the top, or by its file if that
/// defines it.
fn spread(sources: &[Source]) -> BTreeMap<(File, String), BTreeSet<File>> {
    let mut types: BTreeMap<(File, String), BTreeSet<File>> = BTreeMap::new();
    for source in sources {
        for (name, _) in source.inherent_impls() {
            let defining = sources.iter().filter(|other| other.top() == source.top() && other.defines(&name));
            let home = if source.defines(&name) { Some(source) } else { defining.into_iter().next() };
            let home = home.map_or_else(|| vec![source.top()], Source::module);
            types.entry((home, name)).or_default().insert(source.module());
        }
    }
    types
}

#[test]
fn files_of_a_module_depend_on_each_other_in_no_circle() {
    let sources = crate::scan::sources();
    for (module, known) in IN_CIRCLES {
        let circles = Graph::new(&sources, module).circles();
        let name = |circle: &BTreeSet<File>| {
            circle.iter().map(|file| file.join("::")).collect::<Vec<String>>().join(" ")
        };
        let each: BTreeSet<String> = circles.values().map(name).collect();
        assert!(
            circles.len() <= *known,
            "{} files of {module} are in circles, {known} were there before (IN_CIRCLES may only shrink):\n  {}\n",
            circles.len(),
            each.into_iter().collect::<Vec<String>>().join("\n  ")
        );
    }
}

#[test]
fn no_type_has_its_methods_in_many_files() {
    let sources = crate::scan::sources();
    for ((_, name), files) in spread(&sources) {
        let known = SPREAD.iter().find(|(spread, _)| *spread == name).map(|(_, files)| *files);
        let is_right = files.len() <= known.unwrap_or(MOST_FILES);
        let files: Vec<String> = files.iter().map(|file| file.join("::")).collect();
        assert!(
            is_right,
            "{name} has methods in {} files, at most {} are allowed (SPREAD may only shrink): {}",
            files.len(),
            known.unwrap_or(MOST_FILES),
            files.join(" ")
        );
    }
}

// ---- the scanner itself ----

fn circle(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    Graph::new(&sources, "m").circles().keys().map(|file| file.join("::")).collect()
}

#[test]
fn imports_in_a_circle_are_found_in_every_spelling() {
    let a = ("src/m/a.rs", "use super::b::f; pub(super) fn g() {}");
    for text in ["use super::a::g;", "use super::{a, x};", "fn f() { crate::m::a::g() }", "use super::A;"] {
        let root = ("src/m/mod.rs", "mod a; mod b; pub use a::A; pub use b::{self, B as C};");
        assert_eq!(circle(&[root, a, ("src/m/b.rs", text)]), ["m::a", "m::b"], "{text}");
    }
    for text in ["use super::c::g;", "use super::B;", "#[cfg(test)] mod tests { use super::super::a; }", ""] {
        let root = ("src/m/mod.rs", "mod a; mod b; mod c; pub use a::A;");
        let c = ("src/m/c.rs", "");
        assert!(circle(&[root, a, ("src/m/b.rs", text), c]).is_empty(), "{text}");
    }
}

#[test]
fn method_calls_count_as_imports_do() {
    let root = ("src/m/mod.rs", "mod a; mod b; pub struct T { x: u8 }");
    let a = ("src/m/a.rs", "use super::T; impl T { pub fn a(&self) -> impl Fn() { self.b() } fn new() {} }");
    let b = |body: &str| format!("use super::T; impl T {{ fn b(&mut self) {{ {body} }} }}");
    assert_eq!(circle(&[root, a, ("src/m/b.rs", &b("self.a()"))]), ["m::a", "m::b"]);
    assert_eq!(circle(&[root, a, ("src/m/b.rs", &b("other().a()"))]), ["m::a", "m::b"]);
    for none in ["self.x.len()", "a()", "self.new()", "self.a"] {
        assert!(circle(&[root, a, ("src/m/b.rs", &b(none))]).is_empty(), "{none}");
    }
    // `self` is another type, and the file does not name this one.
    let other = "struct U; impl U { fn b(&self) { self.a() } }";
    assert!(circle(&[root, a, ("src/m/b.rs", other)]).is_empty());
    // A variant of that name.
    let variant = "use super::Kind; fn b(u: U) { u.a(Kind::T) }";
    assert!(circle(&[root, a, ("src/m/b.rs", variant)]).is_empty());
    // A trait's methods are nobody's own.
    let of_a_trait = "use super::T; impl Clone for T { fn a(&self) { self.b() } }";
    assert!(circle(&[root, ("src/m/a.rs", of_a_trait), ("src/m/b.rs", &b("self.a()"))]).is_empty());
}

#[test]
fn types_are_counted_by_the_files_with_their_methods() {
    let files = [
        ("src/m/mod.rs", "pub struct T<'a>(&'a u8); impl<'a> T<'a> { fn a() {} }"),
        ("src/m/a.rs", "impl<X: Fn() -> u8> super::T<'_> where X: Copy { fn b() {} } impl Drop for T<'_> {}"),
        ("src/m/b.rs", "struct T; impl T { fn c() {} }"),
        ("src/n.rs", "struct T; impl T {}"),
    ];
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    let counts: Vec<usize> = spread(&sources).into_values().map(|files| files.len()).collect();
    assert_eq!(counts, [2, 1, 1]);
}
