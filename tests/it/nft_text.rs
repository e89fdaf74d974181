//! What a text in nft's syntax means, whichever nft it is from.

/// nft's names of priorities. Newer ones have them at more hooks: what 1.0.6 prints as `hook output priority -100` is
/// `hook output priority dstnat` in 1.1.3, which 1.0.6 does not read.
const PRIORITIES: [(&str, &str); 6] = [
    ("raw", "-300"),
    ("mangle", "-150"),
    ("dstnat", "-100"),
    ("filter", "0"),
    ("security", "50"),
    ("srcnat", "100"),
];

/// The text with all priorities as numbers. Two texts of the same table are then the same.
pub(crate) fn meant(text: &str) -> String {
    let mut meant = text.to_owned();
    for (name, number) in PRIORITIES {
        meant = meant.replace(&format!(" priority {name};"), &format!(" priority {number};"));
    }
    meant
}

#[test]
fn names_and_numbers_of_priorities_mean_the_same() {
    let text =
        |priority: &str| format!("chain c {{\n type nat hook output priority {priority}; policy accept;\n}}");
    assert_eq!(meant(&text("dstnat")), meant(&text("-100")));
    assert_ne!(meant(&text("dstnat")), meant(&text("srcnat")));
    // Only as a priority: `filter` is a kind of chain too.
    assert_eq!(meant("type filter hook"), "type filter hook");
}
