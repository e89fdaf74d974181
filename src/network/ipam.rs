//! The address allocator: a pure map from address numbers to taken or free. It knows no file; see
//! `subnet_file` for how it lies on disk.

use super::subnet::Subnet;

/// A free address.
pub(super) const FREE: u8 = b'0';
/// An address that is in use, or that is never handed out.
pub(super) const TAKEN: u8 = b'1';

/// How many addresses are looked at in one comparison.
const BLOCK: usize = 4096;
const FULL_BLOCK: [u8; BLOCK] = [TAKEN; BLOCK];

/// Which addresses of one subnet are taken: one character for each address, `1` or `0`, as in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    subnet: Subnet,
    characters: Vec<u8>,
}

/// A text that does not describe the subnet: another length, or other characters than `0` and `1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{length} characters do not describe the {expected} addresses of {subnet}")]
pub struct BitmapError {
    subnet: Subnet,
    length: usize,
    expected: u32,
}

impl Bitmap {
    /// All addresses free but those that are never handed out.
    #[must_use]
    pub fn empty(subnet: Subnet) -> Self {
        let mut bitmap = Self { subnet, characters: vec![FREE; subnet.size() as usize] };
        bitmap.mark_reserved();
        bitmap
    }

    /// Reads the characters of the file.
    ///
    /// Two older spellings are understood: network and broadcast address marked free, and the string of
    /// 2^n − 1 characters that starts at the first host address.
    ///
    /// # Errors
    /// Any other length, or other characters than `0` and `1`.
    pub fn parse(subnet: Subnet, text: &str) -> Result<Self, BitmapError> {
        let size = subnet.size() as usize;
        let error = || BitmapError { subnet, length: text.len(), expected: subnet.size() };
        if !is_bitmap(text.as_bytes()) {
            return Err(error());
        }
        let mut characters = Vec::with_capacity(size);
        if text.len() + 1 == size {
            characters.push(TAKEN);
        } else if text.len() != size {
            return Err(error());
        }
        characters.extend_from_slice(text.as_bytes());
        let mut bitmap = Self { subnet, characters };
        bitmap.mark_reserved();
        Ok(bitmap)
    }

    fn mark_reserved(&mut self) {
        for end in [0, self.subnet.size() - 1].into_iter().filter(|end| self.subnet.is_reserved(*end)) {
            self.characters[end as usize] = TAKEN;
        }
    }

    /// The characters of the file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.characters
    }

    /// Takes the lowest free address; `None` when there is none.
    pub fn allocate(&mut self) -> Option<u32> {
        let number = lowest_free(&self.characters)?;
        self.characters[number] = TAKEN;
        u32::try_from(number).ok()
    }

    /// Takes one address; false if it was taken or is no address of the subnet.
    pub fn take(&mut self, number: u32) -> bool {
        match self.characters.get_mut(number as usize) {
            Some(character) if *character == FREE => {
                *character = TAKEN;
                true
            }
            _ => false,
        }
    }

    /// Gives one address back; false if it was free or is never handed out.
    pub fn release(&mut self, number: u32) -> bool {
        match self.characters.get_mut(number as usize) {
            Some(character) if *character == TAKEN && !self.subnet.is_reserved(number) => {
                *character = FREE;
                true
            }
            _ => false,
        }
    }
}

/// Whether a run has no other characters than [`FREE`] and [`TAKEN`].
pub(super) fn is_bitmap(characters: &[u8]) -> bool {
    // They differ in the lowest bit only. Without a branch for each character this takes a few
    // microseconds for a run of 256 KiB.
    characters.iter().fold(0, |seen, character| seen | (character ^ FREE)) <= 1
}

/// The place of the first [`FREE`] in a run of characters.
///
/// Whole blocks of taken addresses are passed over with one memory comparison each, so that a full /8 costs
/// the reading of its 16 MiB and nothing else.
pub(super) fn lowest_free(characters: &[u8]) -> Option<usize> {
    let full = characters.chunks_exact(BLOCK).take_while(|block| **block == FULL_BLOCK).count() * BLOCK;
    characters[full..].iter().position(|c| *c == FREE).map(|place| full + place)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Allocate,
        Take(u32),
        Release(u32),
    }

    fn steps() -> impl Strategy<Value = (u8, Vec<Step>)> {
        (20_u8..=30).prop_flat_map(|prefix| {
            let size = 1_u32 << (32 - u32::from(prefix));
            let step = prop_oneof![
                4 => Just(Step::Allocate),
                1 => (0..size + 2).prop_map(Step::Take),
                3 => (0..size + 2).prop_map(Step::Release),
            ];
            (Just(prefix), proptest::collection::vec(step, 0..300))
        })
    }

    proptest! {
        /// The allocator and a set of free numbers, step by step.
        #[test]
        fn behaves_like_a_set_of_free_numbers((prefix, steps) in steps()) {
            let subnet: Subnet = format!("10.0.0.0/{prefix}").parse().unwrap();
            let mut bitmap = Bitmap::empty(subnet);
            let mut free: BTreeSet<u32> = (1..subnet.size() - 1).collect();
            for step in steps {
                match step {
                    Step::Allocate => {
                        let expected = free.pop_first();
                        prop_assert_eq!(bitmap.allocate(), expected);
                    }
                    Step::Take(number) => prop_assert_eq!(bitmap.take(number), free.remove(&number)),
                    Step::Release(number) => {
                        let usable = number > 0 && number < subnet.size() - 1;
                        prop_assert_eq!(bitmap.release(number), usable && free.insert(number));
                    }
                }
            }
            let text = String::from_utf8(bitmap.as_bytes().to_vec()).unwrap();
            prop_assert_eq!(Bitmap::parse(subnet, &text).unwrap(), bitmap);
        }

        #[test]
        fn the_lowest_free_place_is_found_in_any_run(
            length in 0_usize..20_000, free in proptest::collection::vec(0_usize..20_000, 0..4)
        ) {
            let mut run = vec![TAKEN; length];
            for place in free.iter().filter(|place| **place < length) {
                run[*place] = FREE;
            }
            prop_assert_eq!(lowest_free(&run), run.iter().position(|c| *c == FREE));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[012]{0,20}") {
            let subnet: Subnet = "10.0.0.0/28".parse().unwrap();
            let good = matches!(text.len(), 15 | 16) && !text.contains('2');
            prop_assert_eq!(Bitmap::parse(subnet, &text).is_ok(), good);
        }
    }

    #[test]
    fn an_exhausted_subnet_gives_nothing_and_a_released_address_comes_back() {
        let subnet: Subnet = "10.0.0.0/30".parse().unwrap();
        let mut bitmap = Bitmap::empty(subnet);
        assert_eq!((bitmap.allocate(), bitmap.allocate(), bitmap.allocate()), (Some(1), Some(2), None));
        assert!(bitmap.release(1));
        assert_eq!(bitmap.allocate(), Some(1));
    }

    #[test]
    fn the_last_address_of_an_ipv6_subnet_is_handed_out() {
        let subnet: Subnet = "fd00::/126".parse().unwrap();
        let mut bitmap = Bitmap::empty(subnet);
        assert_eq!([(); 4].map(|()| bitmap.allocate()), [Some(1), Some(2), Some(3), None]);
        assert!(bitmap.release(3) && !bitmap.release(0));
        assert_eq!(bitmap.as_bytes(), b"1110");
    }

    #[test]
    fn the_older_string_starts_at_the_first_host_address() {
        let subnet: Subnet = "192.168.0.0/24".parse().unwrap();
        let bitmap = Bitmap::parse(subnet, &format!("1{}", "0".repeat(254))).unwrap();
        assert_eq!(bitmap.as_bytes(), format!("11{}1", "0".repeat(253)).as_bytes());
    }
}
