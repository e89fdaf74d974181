//! Reading the table back from the kernel.
//!
//! Answers are cut into attributes by number (`frames`), and not by the parsers of netlink-packet-netfilter:
//! those panic on nested attributes that are cut short, and they know neither `fib` nor `nat` nor `ct`.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementList,
    SetElementMessage, SetMessage, TableAttribute, TableMessage,
};
use nix::errno::Errno;

use super::TABLE;
use super::element::Element;
use super::error::{CommitError, Refusal};
use super::expr::text;
use super::frames::{Frame, attribute, be32, push};
use super::listing::{Chain, Differences, Rule, Set, Table, mark};
use super::rules::Chain as ChainName;
use super::skeleton::Skeleton;
use super::socket::Socket;
use super::transaction::What;

/// How often a dump is begun again because the rule set changed while it was being read.
pub(super) const ATTEMPTS: usize = 20;

/// Why a dump did not succeed.
pub(super) enum Interrupted {
    /// The rule set changed: what was read does not fit together.
    Changed,
    /// An error that will not go away.
    Failed(CommitError),
}

impl From<std::io::Error> for Interrupted {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Socket {
    /// The table as the kernel holds it, in nft's own syntax: exactly what `nft list table inet mydocker` prints.
    /// None if there is no such table.
    ///
    /// What is not of mydocker's making and not understood is printed as `# unknown: …`.
    ///
    /// # Errors
    /// [`CommitError::Stale`] where the rule set never stood still; any other where the kernel refuses to answer.
    pub fn dump(&mut self) -> Result<Option<String>, CommitError> {
        Ok(self.table()?.map(|table| table.to_string()))
    }

    /// How the table differs from one of this skeleton with these elements; `None` if there is no table.
    ///
    /// # Errors
    /// As for [`dump`](Self::dump).
    pub fn compare(
        &mut self,
        skeleton: Skeleton,
        elements: &[Element],
    ) -> Result<Option<Differences>, CommitError> {
        Ok(self.table()?.map(|table| table.differences(skeleton, elements)))
    }

    /// Whether the table's chains are all there, with as many rules as they should have. A few look-ups, however
    /// much is in the table; that a rule was replaced by another one is not noticed.
    ///
    /// # Errors
    /// [`CommitError`] where the kernel refuses to answer.
    pub fn has_chains(&mut self, skeleton: Skeleton) -> Result<bool, CommitError> {
        let mut bytes = Vec::with_capacity(512);
        for chain in ChainName::ALL {
            let attributes =
                vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(chain.name().to_owned())];
            push(&mut bytes, NfTablesMessage::GetChain(ChainMessage { attributes }), 0, 1);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.send(&bytes)?;
        let mut uses: Vec<(String, u32)> = Vec::new();
        let mut refused: Option<Refusal> = None;
        self.drain(|frame| {
            let number = attribute(frame.attributes(), NFTA_CHAIN_USE).and_then(be32);
            let name = attribute(frame.attributes(), NFTA_CHAIN_NAME).map(text);
            uses.extend(name.zip(number));
            refused = refused.take().or_else(|| Refusal::read(frame));
        })?;
        match refused {
            Some(refusal) if refusal.errno == Errno::ENOENT => return Ok(false),
            Some(refusal) => return Err(refusal.explain(&What::Batch, false)),
            None => {}
        }
        let rules: Vec<_> = ChainName::ALL.into_iter().flat_map(|chain| chain.rules(skeleton)).collect();
        Ok(ChainName::ALL.into_iter().all(|chain| {
            let own = rules.iter().filter(|rule| rule.chain == chain).count();
            // The kernel counts the rules of a chain and those that lead to it.
            let leading = rules.iter().filter(|rule| rule.leads_to(chain)).count();
            uses.iter().any(|(name, number)| {
                name == chain.name() && usize::try_from(*number).is_ok_and(|number| number == own + leading)
            })
        }))
    }

    /// What the table was marked with when it was made; `None` where there is no table, or no mark.
    ///
    /// # Errors
    /// [`CommitError`] where the kernel refuses to answer.
    pub fn mark(&mut self) -> Result<Option<String>, CommitError> {
        match (Dump { socket: self, generation: None }).ask(get_table(), 0) {
            Ok(tables) => Ok(tables.and_then(|tables| mark(tables.first()?))),
            // One answer fits together.
            Err(Interrupted::Changed) => Err(CommitError::Stale),
            Err(Interrupted::Failed(error)) => Err(error),
        }
    }

    fn table(&mut self) -> Result<Option<Table>, CommitError> {
        for _ in 0..ATTEMPTS {
            match (Dump { socket: self, generation: None }).table() {
                Ok(table) => return Ok(table),
                Err(Interrupted::Changed) => {}
                Err(Interrupted::Failed(error)) => return Err(error),
            }
        }
        Err(CommitError::Stale)
    }
}

/// The question for the table itself.
pub(super) fn get_table() -> NfTablesMessage {
    let name = TableAttribute::Name(TABLE.to_owned());
    NfTablesMessage::GetTable(TableMessage { attributes: vec![name] })
}

/// One attempt to read the whole table.
pub(super) struct Dump<'a> {
    pub(super) socket: &'a mut Socket,
    /// The generation of the rule set that the first answer was about; every answer carries one.
    pub(super) generation: Option<u16>,
}

impl Dump<'_> {
    fn table(&mut self) -> Result<Option<Table>, Interrupted> {
        let Some(tables) = self.ask(get_table(), 0)? else { return Ok(None) };
        let mut table = Table::parse(tables.first().map(Vec::as_slice).unwrap_or_default());

        let attributes = vec![SetAttribute::Table(TABLE.to_owned())];
        for set in self.list(NfTablesMessage::GetSet(SetMessage { attributes }))? {
            let mut set = Set::parse(&set);
            for message in self.elements(set.name())? {
                set.add_elements(&message);
            }
            table.sets.push(set);
        }

        let attributes = vec![ChainAttribute::Table(TABLE.to_owned())];
        let chains = self.list(NfTablesMessage::GetChain(ChainMessage { attributes }))?;
        // The kernel lists the chains of every table.
        let ours = |chain: &&Vec<u8>| attribute(chain, NFTA_CHAIN_TABLE).map(text).as_deref() == Some(TABLE);
        table.chains = chains.iter().filter(ours).map(|chain| Chain::parse(chain)).collect();

        let attributes = vec![RuleAttribute::Table(TABLE.to_owned())];
        for rule in self.list(NfTablesMessage::GetRule(RuleMessage { attributes }))? {
            let chain = attribute(&rule, NFTA_RULE_CHAIN).map(text);
            let chain = table.chains.iter_mut().find(|of| Some(of.name()) == chain.as_deref());
            chain.ok_or(Interrupted::Changed)?.rules.push(Rule::parse(&rule));
        }
        Ok(Some(table))
    }

    /// The messages that list the elements of a set, each as its attributes.
    pub(super) fn elements(&mut self, set: &str) -> Result<Vec<Vec<u8>>, Interrupted> {
        let attributes = vec![SetElementList::Table(TABLE.to_owned()), SetElementList::Set(set.to_owned())];
        self.list(NfTablesMessage::GetSetElement(SetElementMessage { attributes }))
    }

    /// Everything of a kind; that the table is gone means that it was deleted since.
    fn list(&mut self, request: NfTablesMessage) -> Result<Vec<Vec<u8>>, Interrupted> {
        self.ask(request, NLM_F_DUMP)?.ok_or(Interrupted::Changed)
    }

    /// The attributes of each message of the answer; None if what is asked for is not there.
    fn ask(&mut self, request: NfTablesMessage, flags: u16) -> Result<Option<Vec<Vec<u8>>>, Interrupted> {
        let mut bytes = Vec::with_capacity(64);
        push(&mut bytes, request, flags, 1);
        self.socket.send(&bytes)?;
        let mut answers = Vec::new();
        let mut refused = None;
        let mut interrupted = false;
        let generation = &mut self.generation;
        let overflow = self.socket.drain(|frame| {
            interrupted |= frame.flags & NLM_F_DUMP_INTR != 0;
            if let Some(number) = generation_of(frame) {
                interrupted |= *generation.get_or_insert(number) != number;
                answers.push(frame.attributes().to_vec());
            }
            refused = refused.take().or_else(|| Refusal::read(frame));
        })?;
        match refused {
            Some(refusal) if refusal.errno == Errno::ENOENT => Ok(None),
            Some(Refusal { errno: Errno::EINTR, .. }) => Err(Interrupted::Changed),
            Some(refusal) => Err(Interrupted::Failed(refusal.explain(&What::Batch, false))),
            None if interrupted || overflow => Err(Interrupted::Changed),
            None => Ok(Some(answers)),
        }
    }
}

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_USE: u16 = 6;
const NFTA_RULE_CHAIN: u16 = 2;

/// The generation that a message of nf_tables carries as resource id; None for messages of netlink itself.
fn generation_of(frame: Frame<'_>) -> Option<u16> {
    /// Types below are netlink's own: errors and ends of dumps.
    const NLMSG_MIN_TYPE: u16 = 16;
    if frame.kind < NLMSG_MIN_TYPE {
        return None;
    }
    Some(u16::from_be_bytes(frame.payload().get(2..4)?.try_into().ok()?))
}
