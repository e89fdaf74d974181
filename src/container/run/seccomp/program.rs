//! A filter as a classic BPF program: a search tree over ranges of call numbers, since the kernel tries each number
//! once when a filter is loaded, and every call of the container's runs through it afterwards.

use nix::libc;

use super::table::Test;
use crate::sys::FilterInstruction;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is made.
    Allow,
    /// It fails with this error.
    Errno(u32),
    /// It is made where one of these tests of an argument holds, and fails with the error otherwise.
    If(&'static [(u8, Test)], u32),
}

/// Operations of classic BPF (linux/bpf_common.h).
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Where `struct seccomp_data` has the number of the call, the instruction set, and the first argument.
const NUMBER: u32 = 0;
const INSTRUCTION_SET: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The program for the calls (each number once, ascending) of each of these instruction sets, by their `AUDIT_ARCH_*`;
/// `rest` answers all others of theirs. Who uses another instruction set, whose numbers mean other calls, is killed.
pub(super) fn compile(sets: &[(u32, Vec<(u32, Verdict)>)], rest: u32) -> Vec<FilterInstruction> {
    let mut program = vec![statement(LOAD, INSTRUCTION_SET)];
    for (architecture, calls) in sets {
        let mut own = vec![statement(LOAD, NUMBER)];
        own.extend(tree(&ranges(calls, rest)));
        program.extend([jump(JUMP_EQUAL, *architecture, 1, 0), statement(JUMP, length(&own))]);
        program.extend(own);
    }
    program.push(statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS));
    program
}

/// From which number on which verdict holds, until the next one does.
fn ranges(calls: &[(u32, Verdict)], rest: u32) -> Vec<(u32, Verdict)> {
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    let mut add = |from: u32, verdict: Verdict| {
        if ranges.last().is_none_or(|(_, last)| *last != verdict || matches!(verdict, Verdict::If(..))) {
            ranges.push((from, verdict));
        }
    };
    let mut next = 0;
    for (number, verdict) in calls {
        if *number > next {
            add(next, Verdict::Errno(rest));
        }
        add(*number, verdict.clone());
        next = number + 1;
    }
    add(next, Verdict::Errno(rest));
    ranges
}

fn length(program: &[FilterInstruction]) -> u32 {
    u32::try_from(program.len()).unwrap_or(u32::MAX)
}

/// The search among ranges, each from its number to the next one's.
fn tree(ranges: &[(u32, Verdict)]) -> Vec<FilterInstruction> {
    if let [(_, verdict)] = ranges {
        return leaf(verdict);
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let (low, high) = (tree(below), tree(above));
    let first = above[0].0;
    let mut program = match u8::try_from(low.len()) {
        Ok(distance) => vec![jump(JUMP_NOT_LESS, first, distance, 0)],
        // A test jumps over 255 instructions at most.
        Err(_) => vec![jump(JUMP_NOT_LESS, first, 0, 1), statement(JUMP, length(&low))],
    };
    program.extend(low);
    program.extend(high);
    program
}

fn leaf(verdict: &Verdict) -> Vec<FilterInstruction> {
    let refuse = |errno: u32| statement(RETURN, libc::SECCOMP_RET_ERRNO | errno);
    let allow = statement(RETURN, libc::SECCOMP_RET_ALLOW);
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Errno(errno) => vec![refuse(*errno)],
        Verdict::If(tests, errno) => {
            let mut program = Vec::new();
            for (argument, test) in *tests {
                // The lower half of an argument, which is all that the kernel looks at where it takes an `int`.
                let half = if cfg!(target_endian = "little") { 0 } else { 4 };
                program.push(statement(LOAD, ARGUMENTS + 8 * u32::from(*argument) + half));
                match test {
                    Test::IsOneOf(values) => {
                        let values: Vec<_> = values.iter().map(|value| (*value, Verdict::Allow)).collect();
                        program.extend(tree(&ranges(&values, *errno)));
                        return program;
                    }
                    Test::Is(value) => program.push(jump(JUMP_EQUAL, *value, 0, 1)),
                    Test::IsNot(value) => program.push(jump(JUMP_EQUAL, *value, 1, 0)),
                    Test::HasNone(bits) => {
                        program.extend([statement(AND, *bits), jump(JUMP_EQUAL, 0, 0, 1)]);
                    }
                }
                program.push(allow);
            }
            program.push(refuse(*errno));
            program
        }
    }
}

fn statement(code: u16, k: u32) -> FilterInstruction {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> FilterInstruction {
    FilterInstruction { code, jt, jf, k }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel would answer to a call.
    pub(in crate::container::run::seccomp) fn run(
        program: &[FilterInstruction],
        architecture: u32,
        number: u32,
        argument: u32,
    ) -> u32 {
        walk(program, architecture, number, argument).0
    }

    /// How many instructions it would run for it.
    pub(in crate::container::run::seccomp) fn steps(
        program: &[FilterInstruction],
        architecture: u32,
        number: u32,
    ) -> usize {
        walk(program, architecture, number, 0).1
    }

    fn walk(program: &[FilterInstruction], architecture: u32, number: u32, argument: u32) -> (u32, usize) {
        let (mut at, mut register, mut steps) = (0, 0_u32, 0);
        loop {
            steps += 1;
            let FilterInstruction { code, jt, jf, k } = program[at];
            at += 1;
            let choice = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                LOAD => {
                    register = match k {
                        NUMBER => number,
                        INSTRUCTION_SET => architecture,
                        ARGUMENTS => argument,
                        other => panic!("{other}"),
                    }
                }
                AND => register &= k,
                JUMP => at += usize::try_from(k).unwrap(),
                JUMP_EQUAL => at += choice(register == k),
                JUMP_NOT_LESS => at += choice(register >= k),
                RETURN => return (k, steps),
                other => panic!("{other:x}"),
            }
        }
    }

    const TESTS: &[(u8, Test)] = &[(0, Test::Is(7)), (0, Test::HasNone(0xf0)), (0, Test::IsNot(0xf1))];
    const ONE_OF: &[(u8, Test)] = &[(0, Test::IsOneOf(&[1, 2, 3, 7, 9, 11, 12]))];
    /// Two instruction sets, and one that is neither.
    const SETS: [u32; 3] = [0xc000_003e, 0x4000_0003, 0x4000_0028];

    #[test]
    fn another_instruction_set_ends_the_process() {
        let program =
            compile(&[(SETS[0], vec![(1, Verdict::Allow)]), (SETS[1], vec![(2, Verdict::Allow)])], 1);
        let refused = libc::SECCOMP_RET_ERRNO | 1;
        for (set, number, expected) in [
            (SETS[0], 1, libc::SECCOMP_RET_ALLOW),
            (SETS[0], 2, refused),
            (SETS[1], 1, refused),
            (SETS[1], 2, libc::SECCOMP_RET_ALLOW),
            (SETS[2], 1, libc::SECCOMP_RET_KILL_PROCESS),
            // The x32 form of the same call is another call.
            (SETS[0], 0x4000_0001, refused),
        ] {
            assert_eq!(run(&program, set, number, 0), expected, "{set:x} {number}");
        }
    }

    proptest! {
        #[test]
        fn each_call_gets_its_verdict(
            chosen in proptest::collection::btree_map(0_u32..600, 0_u8..5, 0..400),
            other in proptest::collection::btree_map(0_u32..600, 0_u8..5, 0..400), is_other: bool,
            number in 0_u32..700, argument in prop_oneof![Just(7_u32), Just(0xf1_u32), 0_u32..512],
        ) {
            let [own, other] = [chosen, other].map(|calls| -> Vec<(u32, Verdict)> {
                calls.iter().map(|(number, kind)| (*number, match kind {
                    0 | 1 => Verdict::Allow,
                    2 => Verdict::Errno(38),
                    3 => Verdict::If(ONE_OF, 9),
                    _ => Verdict::If(TESTS, 9),
                })).collect()
            });
            let program = compile(&[(SETS[0], own.clone()), (SETS[1], other.clone())], 1);
            let (set, calls) = if is_other { (SETS[1], other) } else { (SETS[0], own) };
            let holds = |tests| if tests == ONE_OF {
                [1, 2, 3, 7, 9, 11, 12].contains(&argument)
            } else {
                argument == 7 || argument & 0xf0 == 0 || argument != 0xf1
            };
            let expected = match calls.iter().find(|(known, _)| *known == number) {
                None => libc::SECCOMP_RET_ERRNO | 1,
                Some((_, Verdict::Allow)) => libc::SECCOMP_RET_ALLOW,
                Some((_, Verdict::Errno(errno))) => libc::SECCOMP_RET_ERRNO | errno,
                Some((_, Verdict::If(tests, _))) if holds(*tests) => libc::SECCOMP_RET_ALLOW,
                Some((_, Verdict::If(_, errno))) => libc::SECCOMP_RET_ERRNO | errno,
            };
            prop_assert_eq!(run(&program, set, number, argument), expected);
        }
    }
}
