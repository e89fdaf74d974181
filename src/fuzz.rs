//! Parsers of bytes that others choose, each with what has to hold whatever the bytes are.
//!
#![doc = include_str!("fuzzing.md")]

use crate::container::tree;
use crate::{archive, dns, image, netlink, plugin, registry};

/// A parser, and what it is given.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is called in `make fuzz`.
    pub name: &'static str,
    /// Parses the bytes, and panics where something does not hold. Says whether they meant anything.
    pub run: fn(&[u8]) -> bool,
    /// Bytes that mean something, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, run: fn(&[u8]) -> bool, seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("dns-question", dns::fuzz::question, dns::fuzz::questions),
    target("dns-answer", dns::fuzz::answer, dns::fuzz::answers),
    target("dns-servers", dns::fuzz::servers, dns::fuzz::lists),
    target("tar", archive::fuzz::tar, archive::fuzz::streams),
    target("compressed", archive::fuzz::compressed, archive::fuzz::compressed_streams),
    target("manifest", image::fuzz::manifest, image::fuzz::manifests),
    target("image-config", image::fuzz::config, image::fuzz::configs),
    target("reference", image::fuzz::reference, image::fuzz::references),
    target("registry-header", registry::fuzz::header, registry::fuzz::headers),
    target("registry-addresses", registry::fuzz::addresses, registry::fuzz::messages),
    target("credentials", registry::fuzz::credentials, registry::fuzz::files),
    target("registries-conf", registry::fuzz::registries, registry::fuzz::rules),
    target("hosts", registry::fuzz::lists, registry::fuzz::hosts),
    target("accounts", tree::fuzz::accounts, tree::fuzz::files),
    target("cni", plugin::fuzz::configuration, plugin::fuzz::configurations),
    target("netavark", plugin::fuzz::options, plugin::fuzz::inputs),
    target("flows", netlink::fuzz::flows, netlink::fuzz::datagrams),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// So many changed inputs for each seed.
    const CHANGES: usize = 300;

    /// Small random numbers, the same in each run (xorshift64*).
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
            usize::try_from(number).unwrap() % limit.max(1)
        }

        fn byte(&mut self) -> u8 {
            u8::try_from(self.below(256)).unwrap()
        }
    }

    /// The seed with a few bytes changed, taken out, repeated or cut off.
    fn changed(seed: &[u8], random: &mut Random) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            let end = (at + random.below(9)).min(bytes.len());
            match random.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let again = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, again));
                }
                3 => bytes.insert(at, random.byte()),
                4 => bytes[at..end].fill([0, 0xff, 0x7f, b'9'][random.below(4)]),
                _ => bytes[at..end].iter_mut().for_each(|byte| *byte = random.byte()),
            }
        }
        bytes
    }

    #[test]
    fn seeds_mean_something_and_changed_ones_break_nothing() {
        let mut random = Random(1);
        for Target { name, run, seeds } in TARGETS {
            for (number, seed) in seeds().iter().enumerate() {
                assert!(run(seed), "{name}: seed {number} means nothing");
                for _ in 0..CHANGES {
                    run(&changed(seed, &mut random));
                }
            }
            run(b"");
        }
    }

    #[test]
    fn names_are_those_of_files() {
        for (at, Target { name, .. }) in TARGETS.iter().enumerate() {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
            assert!(TARGETS[..at].iter().all(|other| other.name != *name), "{name} is there twice");
        }
    }
}
