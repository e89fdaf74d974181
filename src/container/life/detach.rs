//! The keys with which the user leaves a container that goes on running.

use std::fmt;
use std::str::FromStr;

/// A sequence of keys on a terminal, such as ctrl-p and then ctrl-q.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// A text that is no sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a key: expected one character, or ctrl- and one of a-z @ [ \\ ] ^ _")]
pub struct DetachKeysError(String);

impl Default for DetachKeys {
    /// Docker's ctrl-p, ctrl-q.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl FromStr for DetachKeys {
    type Err = DetachKeysError;
    /// Keys with commas between them; an empty text stands for the default.
    fn from_str(text: &str) -> Result<Self, DetachKeysError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

fn key(word: &str) -> Result<u8, DetachKeysError> {
    let wrong = || DetachKeysError(word.to_owned());
    let (control, name) = word.strip_prefix("ctrl-").map_or((false, word), |name| (true, name));
    let &[byte] = name.as_bytes() else { return Err(wrong()) };
    match byte {
        // The control key clears all but the five lowest bits (ASCII).
        b'a'..=b'z' | b'@' | b'['..=b'_' if control => Ok(byte & 0x1f),
        b' '..=b'~' if !control => Ok(byte),
        _ => Err(wrong()),
    }
}

impl fmt::Display for DetachKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, &byte) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match byte {
                0x20.. => write!(f, "{comma}{}", char::from(byte))?,
                _ => write!(f, "{comma}ctrl-{}", char::from(byte | 0x40).to_ascii_lowercase())?,
            }
        }
        Ok(())
    }
}

/// Watches what is typed for a sequence of keys.
#[derive(Debug)]
pub(super) struct Watch {
    keys: DetachKeys,
    /// How many of them were typed last, and are held back.
    matched: usize,
}

impl Watch {
    pub(super) fn new(keys: DetachKeys) -> Self {
        Self { keys, matched: 0 }
    }

    /// How many bytes are held back.
    pub(super) fn held(&self) -> usize {
        self.matched
    }

    /// Passes on what was typed, and returns whether the sequence was completed; what comes after it is dropped.
    pub(super) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let keys = &self.keys.0;
        let mut passed = Vec::with_capacity(typed.len() + self.matched);
        for &byte in typed {
            // The beginning of a sequence that went on otherwise was meant for the container; the rest of it
            // may still be the beginning of another one.
            while self.matched > 0 && keys[self.matched] != byte {
                let still = (0..self.matched)
                    .rev()
                    .find(|&length| keys[..length] == keys[self.matched - length..self.matched])
                    .unwrap_or(0);
                passed.extend_from_slice(&keys[..self.matched - still]);
                self.matched = still;
            }
            if keys[self.matched] != byte {
                passed.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == keys.len() {
                self.matched = 0;
                return (passed, true);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_read_as_dockers_are() {
        let bytes = |text: &str| text.parse::<DetachKeys>().unwrap().0;
        assert_eq!(bytes("ctrl-p,ctrl-q"), [16, 17]);
        assert_eq!(bytes(""), [16, 17]);
        assert_eq!(bytes("a,ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_"), [b'a', 0, 27, 28, 29, 30, 31]);
        for bad in ["ctrl-", "ctrl-A", "ctrl-1", "ab", "a,", ",", "ä", "ctrl-pp"] {
            assert!(bad.parse::<DetachKeys>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!(bytes(&DetachKeys::default().to_string()), [16, 17]);
    }

    #[test]
    fn the_sequence_is_found_wherever_it_is_cut() {
        let mut watch = Watch::new("a,a,b".parse().unwrap());
        assert_eq!(watch.pass(b"xa"), (b"x".to_vec(), false));
        assert_eq!(watch.pass(b"a"), (b"".to_vec(), false));
        assert_eq!(watch.held(), 2);
        // The first of three is no part of it.
        assert_eq!(watch.pass(b"ab!"), (b"a".to_vec(), true));
    }

    proptest! {
        #[test]
        fn nothing_else_is_lost(typed in "[ab]{0,40}", cut in 0_usize..40, keys in "[ab](,[ab]){0,4}") {
            let plain = keys.replace(',', "");
            let mut watch = Watch::new(keys.parse().unwrap());
            let (first, second) = typed.split_at(cut.min(typed.len()));
            let (mut passed, mut detached) = watch.pass(first.as_bytes());
            if !detached {
                let more = watch.pass(second.as_bytes());
                passed.extend(more.0);
                detached = more.1;
            }
            match typed.find(&plain) {
                Some(at) => prop_assert_eq!((passed, detached), (typed.as_bytes()[..at].to_vec(), true)),
                None => {
                    passed.extend_from_slice(&plain.as_bytes()[..watch.held()]);
                    prop_assert_eq!((passed, detached), (typed.into_bytes(), false));
                }
            }
        }
    }
}
