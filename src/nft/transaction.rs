//! Changes that happen together or not at all.

use std::fmt;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::TABLE;
use super::divert::{self, Diversion};
use super::element::Element;
use super::element_bytes::put_elements;
use super::frames::{Writer, frames};
use super::rules::Chain;
use super::schema::Set;
use super::skeleton::{Object, Skeleton, TABLE_COMMENT, write};

/// `NFT_MSG_NEWSETELEM`.
const NEWSETELEM: u8 = 12;
/// `NFT_MSG_DELSETELEM`.
const DELSETELEM: u8 = 14;

/// A list of changes to the table, in order.
///
/// Nothing happens until it is committed by a [`Socket`](super::Socket), and then all of it or nothing. Its
/// `Display` is a script for `nft -f` that does the same.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    operations: Vec<Operation>,
    generation: Option<u32>,
    mark: Option<String>,
}

#[derive(Debug, Clone)]
enum Operation {
    Rebuild(Skeleton),
    AddSkeleton(Skeleton),
    RenewGuards(Skeleton),
    DeleteTable,
    Divert(Diversion),
    Create(Element),
    Delete(Element),
}

impl Transaction {
    /// A transaction that changes nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { operations: Vec::new(), generation: None, mark: None }
    }

    /// True if there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Adds an element. If one with the same key is there (or, for subnets and ranges, one that overlaps it),
    /// the whole transaction fails with [`CommitError::Exists`](super::CommitError::Exists).
    pub fn create(&mut self, element: impl Into<Element>) -> &mut Self {
        self.operations.push(Operation::Create(element.into()));
        self
    }

    /// Takes an element out. If it is not there, the whole transaction fails with
    /// [`CommitError::Missing`](super::CommitError::Missing). Only the key counts, not where a port leads.
    pub fn delete(&mut self, element: impl Into<Element>) -> &mut Self {
        self.operations.push(Operation::Delete(element.into()));
        self
    }

    /// [`delete`](Self::delete)s each element.
    pub fn delete_all(&mut self, elements: impl IntoIterator<Item = Element>) -> &mut Self {
        self.operations.extend(elements.into_iter().map(Operation::Delete));
        self
    }

    /// Adds the changes of another transaction.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.operations.extend(other.operations);
        self
    }

    /// Makes the table anew, whether it is there or not; nothing that was in it remains.
    pub fn rebuild(&mut self, skeleton: Skeleton) -> &mut Self {
        self.operations.push(Operation::Rebuild(skeleton));
        self
    }

    /// Makes the table; if there is one already, the whole transaction fails with
    /// [`CommitError::TableExists`](super::CommitError::TableExists). Of two processes that do this at once,
    /// one succeeds, and neither destroys what the other put in.
    pub fn add_skeleton(&mut self, skeleton: Skeleton) -> &mut Self {
        self.operations.push(Operation::AddSkeleton(skeleton));
        self
    }

    /// Replaces the rules of the chains that guard against forwarding for others by those of `skeleton`: the
    /// guards of the two families come and go, everything else stays. Any number of times, with the same result.
    pub fn renew_forwarding_guards(&mut self, skeleton: Skeleton) -> &mut Self {
        self.operations.push(Operation::RenewGuards(skeleton));
        self
    }

    /// Deletes the table with everything in it.
    pub fn delete_table(&mut self) -> &mut Self {
        self.operations.push(Operation::DeleteTable);
        self
    }

    /// Makes the table with nothing in it but what leads questions to a name server to other ports: in a namespace where
    /// there is none yet.
    pub fn divert(&mut self, diversion: Diversion) -> &mut Self {
        self.operations.push(Operation::Divert(diversion));
        self
    }

    /// Has the kernel refuse the transaction with [`CommitError::Stale`](super::CommitError::Stale) if anything
    /// in its whole rule set has changed since this generation, which a
    /// [`TakenPorts`](super::TakenPorts) is of.
    pub fn only_at(&mut self, generation: u32) -> &mut Self {
        self.generation = Some(generation);
        self
    }

    /// Marks the table that it makes: [`Socket::mark`](super::Socket::mark) reads it, and `nft` does not show it. At most
    /// 190 bytes.
    pub fn mark(&mut self, mark: String) -> &mut Self {
        self.mark = Some(mark);
        self
    }

    /// The transaction as the bytes that the kernel takes.
    #[must_use]
    pub fn finalize(self) -> Batch {
        // One element is some 200 bytes; more of them let the buffer grow.
        let mut writer = Writer::begin(512, What::Batch, self.generation);
        let mut elements = Vec::new();
        let mut run = Run::default();
        let table = |exclusive| Object::Table { exclusive, mark: self.mark.clone() };
        for operation in self.operations {
            let objects = match operation {
                Operation::Create(element) => {
                    run.push(true, element, &mut writer, &mut elements);
                    continue;
                }
                Operation::Delete(element) => {
                    run.push(false, element, &mut writer, &mut elements);
                    continue;
                }
                // The first "add" makes the "delete" succeed.
                Operation::Rebuild(skeleton) => {
                    let replace = [table(false), Object::DeleteTable, table(false)];
                    replace.into_iter().chain(skeleton.contents()).collect()
                }
                Operation::AddSkeleton(skeleton) => {
                    std::iter::once(table(true)).chain(skeleton.contents()).collect()
                }
                Operation::RenewGuards(skeleton) => Chain::GUARDING
                    .into_iter()
                    .flat_map(|chain| {
                        let rules = chain.rules(skeleton).into_iter().map(Object::Rule);
                        std::iter::once(Object::Flush(chain)).chain(rules)
                    })
                    .collect(),
                Operation::DeleteTable => vec![Object::DeleteTable],
                Operation::Divert(diversion) => {
                    let chain = [table(true), Object::DivertingChain];
                    chain.into_iter().chain(diversion.rules().map(Object::DivertingRule)).collect()
                }
            };
            run.flush(&mut writer, &mut elements);
            write(objects, &mut writer);
        }
        run.flush(&mut writer, &mut elements);
        let (bytes, steps) = writer.end();
        Batch { bytes, steps, elements }
    }
}

impl Extend<Element> for Transaction {
    /// [`create`](Self::create)s each element.
    fn extend<T: IntoIterator<Item = Element>>(&mut self, elements: T) {
        self.operations.extend(elements.into_iter().map(Operation::Create));
    }
}

/// Elements that are all created or all deleted, one after the other: their order does not matter, so that those
/// of one set can share a message.
#[derive(Default)]
struct Run {
    create: bool,
    elements: Vec<Element>,
}

impl Run {
    fn push(&mut self, create: bool, element: Element, writer: &mut Writer<What>, done: &mut Vec<Element>) {
        if self.create != create {
            self.flush(writer, done);
            self.create = create;
        }
        self.elements.push(element);
    }

    /// Writes the messages, and moves the elements to the end of `done`.
    fn flush(&mut self, writer: &mut Writer<What>, done: &mut Vec<Element>) {
        let create = self.create;
        self.elements.sort_by_key(Element::set);
        let mut start = done.len();
        for of_one_set in self.elements.chunk_by(|a, b| a.set() == b.set()) {
            let mut rest = of_one_set;
            while let Some(set) = rest.first().map(Element::set) {
                let count = write_elements(writer, create, set, rest, start);
                start += count;
                rest = &rest[count..];
            }
        }
        done.append(&mut self.elements);
    }
}

/// Writes one message with as many of the elements of a set as fit. Returns how many; they are those of the batch from
/// number `start` on.
fn write_elements(
    writer: &mut Writer<What>,
    create: bool,
    set: Set,
    elements: &[Element],
    start: usize,
) -> usize {
    let (operation, flags) = if create { (NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL) } else { (DELSETELEM, 0) };
    writer.message_with(
        operation,
        flags,
        |message| put_elements(message, set, elements, create),
        |count| What::Elements { create, elements: start..start + count },
    )
}

/// What a message of a batch does: the index for the kernel's errors.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// The batch as a whole.
    Batch,
    /// A change of the skeleton.
    Object(Object),
    /// Creates or deletes these of the batch's elements.
    Elements { create: bool, elements: std::ops::Range<usize> },
}

/// A finished transaction: the bytes that are sent, and what each message in them was.
#[derive(Debug)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) steps: Vec<What>,
    pub(super) elements: Vec<Element>,
}

impl Batch {
    /// The bytes themselves, for whoever wants to know what the sending alone costs.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True if it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.len() <= 1
    }

    /// True if it makes the table, in whatever way.
    pub(super) fn makes_table(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, What::Object(Object::Table { .. })))
    }

    /// What the message with that number does.
    pub(super) fn what(&self, seq: u32) -> Option<&What> {
        self.steps.get(usize::try_from(seq).ok()?)
    }

    /// The same changes with a message for each element, so that the number of a message says which one it is about.
    pub(super) fn spelled_out(&self) -> Self {
        let mut writer = Writer::of_taken();
        // Behind the last step comes the end of the batch.
        for (frame, step) in frames(&self.bytes).zip(&self.steps) {
            let What::Elements { create, elements } = step else {
                writer.splice(step.clone(), frame, 0);
                continue;
            };
            for number in elements.clone() {
                let element = &self.elements[number];
                let one = std::slice::from_ref(element);
                write_elements(&mut writer, *create, element.set(), one, number);
            }
        }
        let (bytes, steps) = writer.end();
        Self { bytes, steps, elements: self.elements.clone() }
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In a script that makes the table, nft (1.0.6) itself adds the elements of an interval set twice, and
        // so refuses to `create` them. In a new table there is nothing they could be in conflict with.
        let makes_table =
            |operation: &Operation| matches!(operation, Operation::Rebuild(_) | Operation::AddSkeleton(_));
        let verb = if self.operations.iter().any(makes_table) { "add" } else { "create" };
        for run in self.operations.chunk_by(|one, next| one.is_like(next)) {
            match &run[0] {
                Operation::Rebuild(skeleton) => {
                    write!(f, "add table inet {TABLE}\ndelete table inet {TABLE}\n{skeleton}")?;
                }
                // `create table` with the whole table in it would not find its own sets in nft 1.0.6.
                Operation::AddSkeleton(skeleton) => {
                    write!(f, "create table inet {TABLE} {{\n\tcomment \"{TABLE_COMMENT}\"\n}}\n{skeleton}")?;
                }
                Operation::RenewGuards(skeleton) => {
                    for chain in Chain::GUARDING {
                        writeln!(f, "flush chain inet {TABLE} {}", chain.name())?;
                        for rule in chain.rules(*skeleton) {
                            writeln!(f, "add rule inet {TABLE} {} {rule}", chain.name())?;
                        }
                    }
                }
                Operation::DeleteTable => writeln!(f, "delete table inet {TABLE}")?,
                Operation::Divert(diversion) => {
                    writeln!(
                        f,
                        "table inet {TABLE} {{\n\tcomment \"{TABLE_COMMENT}\"\n\tchain {} {{",
                        divert::CHAIN
                    )?;
                    writeln!(f, "\t\ttype filter hook output priority raw; policy accept;")?;
                    diversion.rules().try_for_each(|rule| writeln!(f, "\t\t{rule}"))?;
                    writeln!(f, "\t}}\n}}")?;
                }
                Operation::Create(_) => write_run(f, verb, run)?,
                Operation::Delete(_) => write_run(f, "delete", run)?,
            }
        }
        Ok(())
    }
}

impl Operation {
    /// The element that it creates or deletes.
    const fn element(&self) -> Option<&Element> {
        match self {
            Self::Create(element) | Self::Delete(element) => Some(element),
            _ => None,
        }
    }

    /// Whether both create an element, or both delete one.
    const fn is_like(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Create(_), Self::Create(_)) | (Self::Delete(_), Self::Delete(_)))
    }
}

/// Writes what creates or deletes all these elements, one command for each set: two commands that each create an
/// element in an empty interval set are refused where nft is 1.0.6 and Linux 6.1 ("File exists"), because each of
/// them brings along nft's mark that the lowest addresses are not in the set.
fn write_run(f: &mut fmt::Formatter<'_>, verb: &str, run: &[Operation]) -> fmt::Result {
    let mut elements: Vec<&Element> = run.iter().filter_map(Operation::element).collect();
    elements.sort_by_key(|element| element.set());
    for of_one_set in elements.chunk_by(|one, next| one.set() == next.set()) {
        write!(f, "{verb} element inet {TABLE} {} {{", of_one_set[0].set().name())?;
        let (space, end) = if of_one_set.len() == 1 { (" ", " ") } else { ("\n\t", "\n") };
        for (number, element) in of_one_set.iter().enumerate() {
            f.write_str(if number == 0 { space } else { ",\n\t" })?;
            if verb == "delete" { element.write_key(f)? } else { element.write_item(f)? }
        }
        writeln!(f, "{end}}}")?;
    }
    Ok(())
}
