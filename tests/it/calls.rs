//! System calls that programs of a container make themselves, on each instruction set that the machine runs: what the
//! filter lets through, and what it refuses.
//!
//! The programs are made here, byte by byte: one call, and its error number (or 0) as the exit status.

#![cfg(target_arch = "x86_64")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::host::Host;

/// Where a program is loaded to.
const BASE: u32 = 0x40_0000;

/// `mov eax, NUMBER`
fn eax(number: u32) -> Vec<u8> {
    [&[0xb8][..], &number.to_le_bytes()].concat()
}

/// A program of 64-bit x86: the three arguments go to rdi, rsi and rdx.
fn program64(number: u32, arguments: [u32; 3]) -> Vec<u8> {
    let [first, second, third] = arguments.map(u32::to_le_bytes);
    let mut code = [&[0xbf][..], &first, &[0xbe], &second, &[0xba], &third].concat();
    code.extend(eax(number));
    // syscall; xor edi, edi; test eax, eax; jns +4; mov edi, eax; neg edi; mov eax, exit_group; syscall
    code.extend([0x0f, 0x05, 0x31, 0xff, 0x85, 0xc0, 0x79, 0x04, 0x89, 0xc7, 0xf7, 0xdf]);
    code.extend(eax(231));
    code.extend([0x0f, 0x05]);
    let start = u64::from(BASE) + 64 + 56;
    let size = 64 + 56 + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [start, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, u64::from(BASE), u64::from(BASE), size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    [file, code].concat()
}

/// A program of 32-bit x86: the three arguments go to ebx, ecx and edx.
fn program32(number: u32, arguments: [u32; 3]) -> Vec<u8> {
    let [first, second, third] = arguments.map(u32::to_le_bytes);
    let mut code = [&[0xbb][..], &first, &[0xb9], &second, &[0xba], &third].concat();
    code.extend(eax(number));
    // int 0x80; xor ebx, ebx; test eax, eax; jns +4; mov ebx, eax; neg ebx; mov eax, exit_group; int 0x80
    code.extend([0xcd, 0x80, 0x31, 0xdb, 0x85, 0xc0, 0x79, 0x04, 0x89, 0xc3, 0xf7, 0xdb]);
    code.extend(eax(252));
    code.extend([0xcd, 0x80]);
    let size = u32::try_from(52 + 32 + code.len()).unwrap();
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    for word in [BASE + 52 + 32, 52, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    [file, code].concat()
}

fn write(path: &Path, program: &[u8]) {
    std::fs::write(path, program).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A program's name and bytes, options to run it with, and the exit statuses of which it is to have one.
type Case = (String, Vec<u8>, &'static [&'static str], Vec<i32>);

const EPERM: i32 = 1;
const EFAULT: i32 = 14;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;

/// What makes a new user namespace, and an argument that is no valid pointer.
const NEW_USER: u32 = 0x1000_0000;
const NOWHERE: u32 = 8;

#[test]
fn each_instruction_set_has_its_part_of_the_filter() {
    let host = Host::new();
    let bin = Path::new(&host.image).join("bin");
    // Whatever the filter says, these are what the kernel itself would say.
    let told = [EFAULT, EINVAL, ENOSYS];
    let mut cases: Vec<Case> = Vec::new();
    let mut case = |name: &str,
                    sixty_four: u32,
                    thirty_two: u32,
                    arguments,
                    options: &'static [&str],
                    expected: &[i32]| {
        for (bits, number) in [(64, sixty_four), (32, thirty_two)] {
            let program =
                if bits == 64 { program64(number, arguments) } else { program32(number, arguments) };
            if number != u32::MAX {
                cases.push((format!("{name}-{bits}"), program, options, expected.to_vec()));
            }
        }
    };
    const NONE: u32 = u32::MAX;
    const ADMIN: &[&str] = &["--cap-add", "SYS_ADMIN"];
    case("getpid", 39, 20, [0; 3], &[], &[0]);
    case("socket-inet", 41, 359, [2, 1, 0], &[], &[0]);
    case("socket-alg", 41, 359, [38, 5, 0], &[], &[EPERM]);
    case("socket-vsock", 41, 359, [40, 1, 0], &[], &[EPERM]);
    case("socketcall-socket", NONE, 102, [1, NOWHERE, 0], &[], &[EPERM]);
    case("socketcall-accept", NONE, 102, [5, NOWHERE, 0], &[], &[EFAULT]);
    case("personality-read", 135, 136, [u32::MAX, 0, 0], &[], &[0]);
    case("personality-no-random", 135, 136, [0x0040_0000, 0, 0], &[], &[EPERM]);
    case("unshare", 272, 310, [NEW_USER, 0, 0], &[], &[EPERM]);
    case("clone-user", 56, 120, [NEW_USER | 17, 0, 0], &[], &[EPERM]);
    case("clone3", 435, 435, [0; 3], &[], &[ENOSYS]);
    case("keyctl", 250, 288, [0, 0, 0], &[], &[EPERM]);
    case("add-key", 248, 286, [0, 0, 0], &[], &[EPERM]);
    case("io-uring", 425, 425, [1, NOWHERE, 0], &[], &[EPERM]);
    case("lsm-list", 461, 461, [NOWHERE, NOWHERE, 0], &[], &[EPERM]);
    case("lsm-list-admin", 461, 461, [NOWHERE, NOWHERE, 0], ADMIN, &told);
    case("lsm-self", 459, 459, [0, NOWHERE, NOWHERE], &[], &[EPERM]);
    case("statmount", 457, 457, [NOWHERE, NOWHERE, 0], &[], &told);
    case("listmount", 458, 458, [NOWHERE, NOWHERE, 0], &[], &told);
    // The kernel makes no secret of what it thinks of this one elsewhere than in its own trampoline.
    case("uretprobe", 335, NONE, [0; 3], &[], &[ENOSYS, 128 + 4, 128 + 11]);
    case("time64", NONE, 403, [1, NOWHERE, 0], &[], &[EFAULT]);
    case("of-the-future", 500, 500, [0; 3], &[], &[ENOSYS]);
    case("of-nobody", 1000, 1000, [0; 3], &[], &[EPERM]);
    // The third instruction set of the machine, x32, is not Docker's either.
    case("x32", 0x4000_0000 | 39, NONE, [0; 3], &[], &[EPERM]);
    for (name, program, ..) in &cases {
        write(&bin.join(name), program);
    }
    crate::program::forget_closed_descriptors();
    for (name, _, options, expected) in &cases {
        let output = host.run(&[&["--net", "none"], *options].concat(), &[&format!("/bin/{name}")]);
        assert!(expected.contains(&output.code()), "{name} should give {expected:?}: {output}");
    }
    // The same by exec, and what the machine says without a filter.
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "100000"]).ok();
    for name in ["getpid-32", "getpid-64"] {
        assert_eq!(host.mydocker(&["exec", "c", &format!("/bin/{name}")]).code(), 0, "{name}");
    }
    for name in ["socket-vsock-32", "keyctl-32"] {
        assert_eq!(host.mydocker(&["exec", "c", &format!("/bin/{name}")]).code(), EPERM, "{name}");
    }
    let open = ["--net", "none", "--security-opt", "seccomp=unconfined"];
    for name in ["personality-no-random-32", "personality-no-random-64", "socketcall-socket-32"] {
        let code = host.run(&open, &[&format!("/bin/{name}")]).code();
        assert!([0, EFAULT].contains(&code), "{name}: {code}");
    }
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}
