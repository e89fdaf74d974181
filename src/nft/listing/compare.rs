//! What in the kernel's table is not as it should be.

use std::collections::BTreeSet;

use super::{Rule, Set, Table};
use crate::nft::element::Element;
use crate::nft::element_bytes::put_elements;
use crate::nft::rules::Chain;
use crate::nft::schema;
use crate::nft::skeleton::Skeleton;

/// How the table in the kernel differs from the one that there should be. Empty where it does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Differences {
    /// Sets and chains that are missing, or do not hold what they should.
    pub changed: Vec<String>,
    /// Elements that should be there, in nft's syntax: the set and the element.
    pub missing: Vec<String>,
    /// Elements that should not be there.
    pub foreign: Vec<String>,
    /// How many packets were dropped because the host did not forward before mydocker. No difference.
    pub guarded: u64,
}

impl Differences {
    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.missing.is_empty() && self.foreign.is_empty()
    }
}

impl Table {
    /// Compares the table with one of this skeleton and these elements.
    pub(in crate::nft) fn differences(&self, skeleton: Skeleton, elements: &[Element]) -> Differences {
        let mut differences = Differences::default();
        for set in schema::Set::ALL {
            let Some(held) = self.sets.iter().find(|held| held.name() == set.name()) else {
                differences.changed.push(format!("set {}", set.name()));
                continue;
            };
            let of_set: Vec<Element> =
                elements.iter().filter(|element| element.set() == set).cloned().collect();
            let texts = |set: &Set| set.element_texts().into_iter().collect::<BTreeSet<String>>();
            let (held, wanted) = (texts(held), texts(&held.filled_with(set, &of_set)));
            let named = |text: &String| format!("{} {{ {text} }}", set.name());
            differences.missing.extend(wanted.difference(&held).map(named));
            differences.foreign.extend(held.difference(&wanted).map(named));
        }
        for chain in Chain::ALL {
            let held = self.chains.iter().find(|held| held.name() == chain.name());
            let is_same = held.is_some_and(|held| {
                let rules = held.rules.iter().map(|rule| rule.without_counts().to_string());
                held.hook.as_deref() == chain.hook().map(|hook| hook.text)
                    && rules.eq(chain.rules(skeleton).iter().map(ToString::to_string))
            });
            if !is_same {
                differences.changed.push(format!("chain {}", chain.name()));
            }
        }
        let rules = self.chains.iter().flat_map(|chain| &chain.rules).filter(|rule| rule.is_guard());
        differences.guarded = rules.map(Rule::packets).fold(0, u64::saturating_add);
        let unknown_set = |set: &&Set| !schema::Set::ALL.iter().any(|ours| ours.name() == set.name());
        differences
            .changed
            .extend(self.sets.iter().filter(unknown_set).map(|set| format!("set {}", set.name())));
        let unknown =
            self.chains.iter().filter(|held| !Chain::ALL.iter().any(|ours| ours.name() == held.name()));
        differences.changed.extend(unknown.map(|chain| format!("chain {}", chain.name())));
        differences
    }
}

impl Set {
    /// The same set with these elements, as if the kernel had listed them.
    fn filled_with(&self, set: schema::Set, elements: &[Element]) -> Self {
        let mut filled = Self {
            name: self.name.clone(),
            flags: self.flags,
            key: self.key.clone(),
            data: self.data.clone(),
            comment: None,
            elements: Vec::new(),
        };
        let mut rest = elements;
        while !rest.is_empty() {
            let mut message = Vec::new();
            // At least one fits.
            let written = put_elements(&mut message, set, rest, true).max(1);
            filled.add_elements(&message);
            rest = rest.get(written..).unwrap_or_default();
        }
        filled
    }
}
