//! The program of `make fuzz`: libFuzzer's, for the target that the environment names. See `src/fuzzing.md`.
//!
//! - `MYDOCKER_FUZZ_TARGET`: the target; without it, the names of all are printed.
//! - `MYDOCKER_FUZZ_CORPUS`: a directory that is there, to which the target's seeds are written first.
//!
//! It is an example to cargo because it is nothing else: no test, and nothing to install.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod driver {
    #![expect(
        clippy::disallowed_methods,
        clippy::exit,
        clippy::print_stdout,
        reason = "the program is a tool for whoever works on mydocker; the rules are about the product"
    )]

    use std::path::Path;
    use std::sync::OnceLock;

    use mydocker::fuzz::{TARGETS, Target};

    static TARGET: OnceLock<&'static Target> = OnceLock::new();

    fn begin() {
        let Ok(name) = std::env::var("MYDOCKER_FUZZ_TARGET") else {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            std::process::exit(0);
        };
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
        if let Some(corpus) = std::env::var_os("MYDOCKER_FUZZ_CORPUS") {
            for (number, seed) in (target.seeds)().iter().enumerate() {
                std::fs::write(Path::new(&corpus).join(format!("seed-{number}")), seed)
                    .expect("write a seed");
            }
        }
        TARGET.set(target).expect("it begins once");
    }

    libfuzzer_sys::fuzz_target!(init: begin(), |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.run)(data);
        }
    });
}

#[cfg(not(fuzzing))]
#[expect(clippy::print_stderr, reason = "it tells whoever has started it")]
fn main() -> std::process::ExitCode {
    eprintln!("this was built without the fuzzer: use `make fuzz`");
    std::process::ExitCode::FAILURE
}
