//! Addresses taken and given back.
//!
//! | group | cases |
//! |---|---|
//! | `allocator, in memory` | take and give back in a /24, /16, /8 that is empty, half full, or has one address left |
//! | `allocator, durable` | the same through `subnet.json`, as a command does it: lock, open, find, write, close; a file with 100 other subnets before it |
//! | `allocator, contended` | take and give back, by eight processes at once and by one; the time of one such pair over all |
//!
//! The floor of the durable cases is the same system calls with nothing to look for: the lock, the file, one byte
//! read and one byte written.
//!
//! The contenders are processes: this very program, started again with its order in an environment variable.
//! They live as long as the group; each gets the number of its pairs as a line and answers with an empty line.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use criterion::Criterion;
use mydocker::network::{Bitmap, InUse, Subnet, SubnetFile, SubnetFileError};
use mydocker::store::Layout;
use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use crate::report::FLOOR;

/// The variable with a contender's order: `ours` or `floor`, a space, the directory.
pub(crate) const CONTENDER: &str = "MYDOCKER_BENCH_CONTENDER";
/// How many contend.
const CONTENDERS: u64 = 8;

pub(crate) fn all(criterion: &mut Criterion) {
    in_memory(criterion);
    durable(criterion);
    contended(criterion);
}

/// How many of the addresses are taken.
#[derive(Clone, Copy)]
enum Fill {
    Empty,
    Half,
    OneLeft,
}

impl Fill {
    const ALL: [Self; 3] = [Self::Empty, Self::Half, Self::OneLeft];

    const fn text(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Half => "half full",
            Self::OneLeft => "one address left",
        }
    }

    /// One character for each address, as in the file.
    fn characters(self, prefix: u8) -> String {
        let size = 1_usize << (32 - u32::from(prefix));
        let taken = match self {
            Self::Empty => 1,
            Self::Half => size / 2,
            Self::OneLeft => size - 2,
        };
        "1".repeat(taken) + &"0".repeat(size - 1 - taken) + "1"
    }
}

fn subnet(prefix: u8) -> Subnet {
    format!("10.0.0.0/{prefix}").parse().unwrap()
}

fn in_memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allocator, in memory");
    for prefix in [24, 16, 8] {
        for fill in Fill::ALL {
            let mut bitmap = Bitmap::parse(subnet(prefix), &fill.characters(prefix)).unwrap();
            group.bench_function(format!("take and give back, /{prefix} {}", fill.text()), |bencher| {
                bencher.iter(|| {
                    let number = bitmap.allocate().unwrap();
                    bitmap.release(number)
                });
            });
        }
    }
    group.finish();
}

/// A directory with a file of addresses.
struct Store {
    directory: PathBuf,
    subnet: Subnet,
    /// For the floor: where the first free character stands.
    free_at: u64,
    _kept: Option<TempDir>,
}

impl Store {
    fn new(prefix: u8, fill: Fill, others: u16) -> Self {
        let directory = TempDir::new().unwrap();
        let layout = layout(directory.path());
        let mut text = "{".to_owned();
        for other in 0..others {
            let [high, low] = other.to_be_bytes();
            text += &format!("\"9.{high}.{low}.0/24\":\"{}\",", Fill::Half.characters(24));
        }
        text += &format!("\"10.0.0.0/{prefix}\":\"");
        let characters = fill.characters(prefix);
        let free_at = (text.len() + characters.find('0').unwrap()) as u64;
        text += &characters;
        text += "\"}";
        let path = layout.subnet_file();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let path = directory.path().to_owned();
        Self { directory: path, subnet: subnet(prefix), free_at, _kept: Some(directory) }
    }

    fn take(&self) -> IpAddr {
        let mut file = SubnetFile::open(&layout(&self.directory), nothing_in_use).unwrap();
        let address = file.lowest_free(self.subnet, &(0..=u32::MAX)).unwrap().unwrap();
        assert!(file.take(self.subnet, address, || Ok::<_, SubnetFileError>(true)).unwrap());
        address
    }

    fn give_back(&self, address: IpAddr) {
        let mut file = SubnetFile::open(&layout(&self.directory), nothing_in_use).unwrap();
        file.release(self.subnet, address).unwrap();
    }

    /// What the kernel has to do for either.
    fn floor(&self, character: u8) {
        let layout = layout(&self.directory);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let open = |path: &Path| options.open(path).unwrap();
        let lock = Flock::lock(open(&layout.subnet_lock()), FlockArg::LockExclusive).unwrap();
        let file: File = open(&layout.subnet_file());
        file.read_exact_at(&mut [0], self.free_at).unwrap();
        file.write_all_at(&[character], self.free_at).unwrap();
        drop(file);
        drop(lock);
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the file's signature")]
fn nothing_in_use() -> Result<InUse, mydocker::network::RecordError> {
    Ok(InUse::new())
}

fn layout(directory: &Path) -> Layout {
    Layout::new(directory, directory.join("run"))
}

fn durable(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allocator, durable");
    let mut cases: Vec<_> =
        [24, 16, 8].into_iter().flat_map(|p| Fill::ALL.map(|fill| (p, fill, 0))).collect();
    cases.push((24, Fill::Empty, 100));
    for (prefix, fill, others) in cases {
        let store = Store::new(prefix, fill, others);
        let text = format!("/{prefix} {}, {others} other subnets", fill.text());
        let mut pair = |name: &str, takes: bool, work: &dyn Fn(bool, &mut Option<IpAddr>)| {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|times| {
                    let (mut total, mut address) = (Duration::ZERO, None);
                    for _ in 0..times {
                        for take in [true, false] {
                            let start = Instant::now();
                            work(take, &mut address);
                            if take == takes {
                                total += start.elapsed();
                            }
                        }
                    }
                    total
                });
            });
        };
        for (verb, takes) in [("take", true), ("give back", false)] {
            pair(&format!("{verb}, {text}"), takes, &|take, address| {
                if take {
                    *address = Some(store.take());
                } else {
                    store.give_back(address.unwrap());
                }
            });
            pair(&format!("{verb}, {text}{FLOOR}"), takes, &|take, _| {
                store.floor(if take { b'1' } else { b'0' });
            });
        }
    }
    group.finish();
}

struct Contender {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Contender {
    fn start(order: &OsStr) -> Self {
        let mut process = Command::new("/proc/self/exe")
            .env(CONTENDER, order)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, orders, answers }
    }
}

fn contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allocator, contended");
    let store = Store::new(16, Fill::Empty, 0);
    for count in [1, CONTENDERS] {
        let name = format!("take and give back, {count} at once");
        for (what, name) in [("ours", name.clone()), ("floor", name + FLOOR)] {
            let mut order = OsString::from(format!("{what} "));
            order.push(&store.directory);
            let mut contenders: Vec<_> = (0..count).map(|_| Contender::start(&order)).collect();
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|times| {
                    let each = times.div_ceil(count);
                    let start = Instant::now();
                    for contender in &mut contenders {
                        writeln!(contender.orders, "{each}").unwrap();
                    }
                    for contender in &mut contenders {
                        contender.answers.read_line(&mut String::new()).unwrap();
                    }
                    // For as many as were asked for, where eight cannot share them evenly.
                    start.elapsed().mul_f64(times as f64 / (each * count) as f64)
                });
            });
            for Contender { mut process, orders, .. } in contenders {
                drop(orders);
                assert!(process.wait().unwrap().success(), "a contender failed");
            }
        }
    }
    group.finish();
}

/// A contender's life.
pub(crate) fn contend(order: &OsStr) {
    let (what, directory) = order.to_str().unwrap().split_once(' ').unwrap();
    let text = std::fs::read_to_string(layout(Path::new(directory)).subnet_file()).unwrap();
    let start = text.find("\":\"").unwrap() + 3;
    let free_at = (start + text[start..].find('0').unwrap()) as u64;
    let store = Store { directory: directory.into(), subnet: subnet(16), free_at, _kept: None };
    for line in std::io::stdin().lines() {
        for _ in 0..line.unwrap().parse::<u64>().unwrap() {
            if what == "ours" {
                store.give_back(store.take());
            } else {
                store.floor(b'1');
                store.floor(b'0');
            }
        }
        println!();
    }
}
