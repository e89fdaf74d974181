//! The pages: each is part of the crate's documentation, its links lead somewhere, and what it says about tests and
//! versions is true.

#[cfg(test)]
mod pages {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    /// The longest README: users read it from the beginning to the end.
    const README_MAX: usize = 14_000;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The files below a directory of the crate whose names end so.
    fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
        let (mut found, mut open) = (Vec::new(), vec![root().join(directory)]);
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    found.push(path);
                }
            }
        }
        assert!(!found.is_empty(), "no {ending} below {directory}");
        found
    }

    #[test]
    fn every_page_is_part_of_the_documentation() {
        let included: BTreeSet<PathBuf> = files("src", ".rs")
            .iter()
            .flat_map(|file| {
                let text = read(file);
                let pages = text.lines().filter_map(|line| line.strip_prefix("#![doc = include_str!(\""));
                let pages = pages.filter_map(|rest| rest.strip_suffix("\")]"));
                pages.map(|page| file.with_file_name(page)).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(included, files("src", ".md").into_iter().collect());
    }

    #[test]
    fn links_of_pages_lead_to_files() {
        let mut pages = files("src", ".md");
        pages.extend(["README.md", "benches/README.md"].map(|page| root().join(page)));
        for page in pages {
            let text = read(&page);
            let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for link in links.filter(|link| !link.contains("://")) {
                let target = page.with_file_name(link.split('#').next().unwrap_or_default());
                assert!(target.exists(), "{} leads to {link}", page.display());
            }
        }
    }

    #[test]
    fn the_readme_is_short() {
        let length = read(&root().join("README.md")).len();
        assert!(length <= README_MAX, "README.md has {length} bytes: move what few users need to a page");
    }

    /// What stands between two texts in a file.
    fn between(file: &str, before: &str, after: &str) -> String {
        let text = read(&root().join(file));
        let found = text.split_once(before).and_then(|(_, rest)| rest.split_once(after));
        found.unwrap_or_else(|| panic!("no {before} in {file}")).0.to_owned()
    }

    #[test]
    fn the_readme_has_the_versions_that_are_needed() {
        let readme = read(&root().join("README.md"));
        let kernel = between("src/needs/mod.rs", "OLDEST_KERNEL: &str = \"", "\"");
        let rust = between("Cargo.toml", "rust-version = \"", "\"");
        for needed in [format!("Linux {kernel} or later"), format!("Rust {rust} or later")] {
            assert!(readme.contains(&needed), "README.md does not say: {needed}");
        }
    }

    /// The row that a test belongs to by its name: `s1` of `s1_an_unpublished_port`.
    fn row_of(test: &str) -> Option<&str> {
        let (row, _) = test.split_once('_')?;
        let number = row.strip_prefix(['s', 'r'])?;
        (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(row)
    }

    /// Where the tests of each row are: a module of `tests/it`, or a file of the sources.
    fn numbered_tests() -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in files("tests/it", ".rs").into_iter().chain(files("src", ".rs")) {
            let relative = file.strip_prefix(root()).unwrap();
            let place = match relative.strip_prefix("tests/it") {
                Ok(module) => module.with_extension(""),
                Err(_) => relative.to_owned(),
            };
            let text = read(&file);
            let functions = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            for row in functions.filter_map(row_of) {
                found.entry(row.to_owned()).or_default().insert(place.display().to_string());
            }
        }
        found
    }

    #[test]
    fn the_exposures_name_the_tests_that_hold_them() {
        let page = read(&root().join("src/exposures.md"));
        let mut said = BTreeMap::new();
        for line in page.lines().filter(|line| line.starts_with("| s") || line.starts_with("| r")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let (row, cell) = (cells[1], cells[cells.len() - 2]);
            if row == "row" {
                continue;
            }
            let (numbered, others) = cell.split_once(';').unwrap_or((cell, ""));
            said.insert(row.to_owned(), numbered.split(", ").map(str::to_owned).collect::<BTreeSet<_>>());
            for other in others.split('`').skip(1).step_by(2) {
                let is_there = [format!("tests/it/{other}.rs"), format!("tests/it/{other}")];
                assert!(is_there.iter().any(|path| root().join(path).exists()), "{row}: {other}");
            }
        }
        assert_eq!(said, numbered_tests());
        assert_eq!(said.len(), 18 + 15);
    }
}
