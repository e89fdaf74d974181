//! Which devices a container may use: lines of the devices tree in version 1, a BPF program in version 2.
//!
//! Everything is denied but what the rules allow: making any node, using those that every container has, and what
//! was asked for. A container that is privileged has no rules at all.

use crate::container::request::device::{Access, Devices, Kind, Node, Rule};
use crate::sys::BpfInstruction;

/// What every container may use: null, full, zero, random, urandom, tty, ptmx, and the terminals behind it.
const EVERYBODYS: [(u32, Option<u32>); 8] = [
    (1, Some(3)),
    (1, Some(7)),
    (1, Some(5)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// The rules of a container, in order, each allowing something.
pub(super) fn rules(nodes: &[Node], wanted: &Devices) -> Vec<Rule> {
    let make = Access { read: false, write: false, make: true };
    let any = |kind| Rule { kind, major: None, minor: None, access: make };
    let mut rules = vec![any(Kind::Char), any(Kind::Block)];
    rules.extend(EVERYBODYS.map(|(major, minor)| Rule {
        kind: Kind::Char,
        major: Some(major),
        minor,
        access: Access::ALL,
    }));
    rules.extend(nodes.iter().map(|node| Rule {
        kind: node.kind,
        major: Some(node.major),
        minor: Some(node.minor),
        access: node.access,
    }));
    rules.extend_from_slice(&wanted.rules);
    rules
}

/// Operations of linux/bpf.h, for 32 and 64 bits.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const COPY: u8 = 0xbf;
const AND_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const JUMP_IF_NOT: u8 = 0x55;
const JUMP_IF_NOT_SAME: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// The program for these rules. It is handed `struct bpf_cgroup_dev_ctx`: a word with the access wanted above sixteen
/// bits and the kind of device in them, then the two numbers. It answers 1 for yes.
pub(super) fn program(rules: &[Rule]) -> Vec<BpfInstruction> {
    // Registers: 1 is the context; 2 the kind, 3 the access, 4 and 5 the numbers; 6 is for what is computed.
    let mut program = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(COPY, 3, 2, 0, 0),
        instruction(AND_32, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT_32, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let tests = tests(rule);
        // The kernel refuses instructions that are never reached: what comes behind a rule that allows everything.
        let is_last = tests.len() == 2;
        program.extend(tests);
        if is_last {
            return program;
        }
    }
    program.extend([instruction(MOVE, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    program
}

/// The tests of one rule and the answer if all hold. Each test that does not hold jumps behind the answer.
fn tests(rule: &Rule) -> Vec<BpfInstruction> {
    let mut tests: Vec<Vec<BpfInstruction>> = Vec::new();
    let number = |value: u32| i32::from_ne_bytes(value.to_ne_bytes());
    // BPF_DEVCG_DEV_BLOCK and BPF_DEVCG_DEV_CHAR.
    match rule.kind {
        Kind::All => {}
        Kind::Block => tests.push(vec![instruction(JUMP_IF_NOT, 2, 0, 0, 1)]),
        Kind::Char => tests.push(vec![instruction(JUMP_IF_NOT, 2, 0, 0, 2)]),
    }
    // BPF_DEVCG_ACC_MKNOD, _READ and _WRITE.
    let allowed =
        i32::from(rule.access.make) | i32::from(rule.access.read) << 1 | i32::from(rule.access.write) << 2;
    if allowed != 7 {
        // All that is wanted is among what is allowed.
        tests.push(vec![
            instruction(COPY, 6, 3, 0, 0),
            instruction(AND_32, 6, 0, 0, allowed),
            instruction(JUMP_IF_NOT_SAME, 6, 3, 0, 0),
        ]);
    }
    for (register, wanted) in [(4, rule.major), (5, rule.minor)] {
        tests.extend(wanted.map(|wanted| vec![instruction(JUMP_IF_NOT, register, 0, 0, number(wanted))]));
    }
    let mut program: Vec<BpfInstruction> = tests.concat();
    program.extend([instruction(MOVE, 0, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)]);
    let length = program.len();
    for (at, instruction) in program.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_IF_NOT | JUMP_IF_NOT_SAME) {
            instruction.offset = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
        }
    }
    program
}

fn instruction(code: u8, target: u8, source: u8, offset: i16, immediate: i32) -> BpfInstruction {
    BpfInstruction { code, registers: target | source << 4, offset, immediate }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel would do: kind (1 block, 2 character), access bits and numbers in, the answer out.
    fn run(program: &[BpfInstruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 11];
        let mut at = 0;
        loop {
            let BpfInstruction { code, registers: both, offset, immediate } = program[at];
            let (target, source) = (usize::from(both & 15), usize::from(both >> 4));
            let operand = u64::from(immediate.cast_unsigned());
            let jump = |holds: bool| if holds { usize::try_from(offset).unwrap() } else { 0 };
            at += 1;
            match code {
                LOAD_WORD => registers[target] = u64::from(context[usize::try_from(offset).unwrap() / 4]),
                MOVE => registers[target] = operand,
                COPY => registers[target] = registers[source],
                AND_32 => registers[target] &= operand,
                SHIFT_RIGHT_32 => registers[target] >>= operand,
                // The immediate is extended with its sign to 64 bits.
                JUMP_IF_NOT => at += jump(registers[target] != i64::from(immediate).cast_unsigned()),
                JUMP_IF_NOT_SAME => at += jump(registers[target] != registers[source]),
                EXIT => return registers[0] == 1,
                other => panic!("{other:x}"),
            }
        }
    }

    fn wanted(rules: &[&str]) -> Vec<Rule> {
        let devices =
            Devices { nodes: Vec::new(), rules: rules.iter().map(|rule| rule.parse().unwrap()).collect() };
        super::rules(&[], &devices)
    }

    #[test]
    fn a_container_uses_its_own_devices_and_makes_any() {
        let program = program(&wanted(&[]));
        let (make, read, all) = (1, 2, 7);
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 0), (136, 99)] {
            assert!(run(&program, 2, all, major, minor), "c {major}:{minor}");
            assert!(!run(&program, 1, read, major, minor), "b {major}:{minor}");
        }
        for (major, minor) in [(1, 1), (1, 2), (5, 1), (8, 0), (10, 200), (259, 0)] {
            for kind in [1, 2] {
                assert!(!run(&program, kind, read, major, minor), "{kind} {major}:{minor}");
                assert!(run(&program, kind, make, major, minor), "{kind} {major}:{minor}");
            }
        }
        assert!(program.len() <= 60, "{}", program.len());
    }

    #[test]
    fn rules_of_the_users_allow_what_they_say() {
        let program = program(&wanted(&["c 10:229 r", "b 8:* rw", "a 7:7 rwm"]));
        assert!(
            run(&program, 2, 2, 10, 229) && !run(&program, 2, 4, 10, 229) && !run(&program, 2, 6, 10, 229)
        );
        assert!(run(&program, 1, 6, 8, 17) && !run(&program, 2, 6, 8, 17));
        assert!(run(&program, 1, 7, 7, 7) && run(&program, 2, 7, 7, 7) && !run(&program, 2, 7, 7, 8));
        let everything = super::program(&wanted(&["a *:* rwm"]));
        assert!(run(&everything, 1, 7, 8, 0));
    }

    proptest! {
        #[test]
        fn the_program_allows_what_a_rule_allows(
            rules in proptest::collection::vec("[abc] ([0-9]|\\*):([0-9]|\\*) (r|w|m|rw|rm|wm|rwm)", 0..6),
            kind in 1_u32..3, access in 1_u32..8, major in 0_u32..10, minor in 0_u32..10,
        ) {
            let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
            let rules = wanted(&texts);
            let allows = |rule: &Rule| {
                let kinds = match rule.kind { Kind::All => true, Kind::Block => kind == 1, Kind::Char => kind == 2 };
                let bits = u32::from(rule.access.make) | u32::from(rule.access.read) << 1
                    | u32::from(rule.access.write) << 2;
                kinds && access & !bits == 0
                    && rule.major.is_none_or(|wanted| wanted == major)
                    && rule.minor.is_none_or(|wanted| wanted == minor)
            };
            prop_assert_eq!(run(&program(&rules), kind, access, major, minor), rules.iter().any(allows));
        }
    }
}
