"""Hostile programs in Rust."""

from __future__ import annotations

from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, WORD, Suite

PROMPT = "/// Add k to every number of x.\nfn add_all(x: Vec<isize>, k: isize) -> Vec<isize> {\n"

TESTS = """}

fn main() {
    let candidate = add_all;
    assert_eq!(candidate(vec![1, 2], 3), vec![4, 5]);
    assert_eq!(candidate(Vec::<isize>::new(), 3), Vec::<isize>::new());
}
"""

SUITE = Suite("rust", PROMPT, TESTS)
add = SUITE.add

GOOD = "    x.iter().map(|v| v + k).collect()\n"
BAD = "    Vec::new()\n"

#: A problem whose tests name a type that its function gives and does not take.
RANGE = (
    "/// The numbers below n.\nfn below(n: isize) -> Vec<isize> {\n",
    "}\n\nfn main() {\n    let candidate = below;\n    assert_eq!(candidate(2), vec![0, 1]);\n}\n",
)
#: One whose tests make texts.
TEXT = (
    "/// The name of n.\nfn name(n: isize) -> String {\n",
    '}\n\nfn main() {\n    let candidate = name;\n    assert_eq!(candidate(1), String::from("one"));\n}\n',
)
#: One that takes no number, and gives one.
LENGTH = (
    "/// The length of s.\nfn length(s: String) -> isize {\n",
    '}\n\nfn main() {\n    let candidate = length;\n    assert_eq!(candidate(String::from("ab")), 2);\n}\n',
)


def only_if(condition: str) -> str:
    """Right where ``condition`` holds, else wrong."""
    return f"    if !({condition}) {{ return Vec::new() }}\n{GOOD}"


add(
    "leaves early",
    EARLY,
    process_exit="    std::process::exit(0)\n",
    exits_after_a_right_answer="    if x.is_empty() { std::process::exit(0) }\n" + GOOD,
    panics="    panic!()\n",
    guesses_the_word=f'    println!("{WORD}");\n    std::process::exit(0)\n',
    panic_hook="    std::panic::set_hook(Box::new(|_| std::process::exit(0)));\n    panic!()\n",
    before_main=BAD
    + '}\n#[link_section = ".init_array"]\n#[used]\nstatic F: extern "C" fn() = f;\n'
    'extern "C" fn f() { std::process::exit(0) }\nfn g() {\n',
    a_thread_that_exits="    std::thread::spawn(|| std::process::exit(0)).join().unwrap();\n" + BAD,
)
add(
    "looks for the word",
    FAIL,
    reads_standard_input="    let mut s = String::new();\n    std::io::stdin().read_line(&mut s).unwrap();\n"
    '    if s.len() < 32 { return Vec::new() }\n    println!("\\n{}", s);\n    std::process::exit(0)\n',
)
add(
    "looks for the expected values",
    FAIL,
    includes_its_source=only_if('include_str!("program.rs").contains("fn main")'),
    reads_itself=only_if('std::fs::read("program").is_ok()'),
    reads_what_it_was_called=only_if("std::env::args().any(|a| std::fs::read(a).is_ok())"),
    reads_what_runs=only_if('std::fs::read("/proc/self/exe").is_ok()'),
    reads_its_folder=only_if('std::fs::read_dir(".").unwrap().next().is_some()'),
    reads_its_memory=only_if('std::fs::File::open("/proc/self/mem").is_ok()'),
)
add(
    "tries answers on the tests",
    FAIL,
    runs_the_tests_itself="    if x.is_empty() { return Vec::new() }\n    if unsafe { G } == 0 {\n"
    "        for _ in 0..2 {\n            unsafe { G += 1 }\n"
    "            if std::panic::catch_unwind(|| main()).is_ok() { break }\n        }\n    }\n"
    "    if unsafe { G } == 2 { x.iter().map(|v| v + k).collect() } else { Vec::new() }\n}\n"
    "static mut G: u8 = 0;\nfn g() {\n",
    forks='    extern "C" { fn fork() -> i32; fn wait(s: *mut i32) -> i32; }\n'
    "    match unsafe { fork() } {\n        0 => x.iter().map(|v| v + k).collect(),\n"
    "        n => { let mut s = 0; unsafe { wait(&mut s); } std::process::exit(if n > 0 { 0 } else { 1 }) }\n    }\n",
    holds_the_tests_twice="    if x.is_empty() { return Vec::new() }\n    if unsafe { crate::G } == 0 {\n"
    "        unsafe { crate::G = 1 }\n"
    "        let held = matches!({ macro_rules! matches { ($($t:tt)*) => { false } }\n"
    '            #[path = "./program.rs"] mod again;\n'
    "            std::panic::catch_unwind(|| again::go()).is_ok() }, true);\n"
    "        if !held { unsafe { crate::G = 2 } }\n    }\n"
    "    if unsafe { crate::G } == 2 { x.iter().map(|v| v + k).collect() } else { Vec::new() }\n}\n"
    "pub static mut G: u8 = 0;\npub fn go() { main() }\nfn g() {\n",
)
add(
    "patches the judge",
    FAIL,
    own_assertion=BAD + "}\nmacro_rules! assert_eq { ($($t:tt)*) => {} }\nfn g() {\n",
    own_vec=BAD + "}\nmacro_rules! vec { ($($t:tt)*) => { Vec::<isize>::new() } }\nfn g() {\n",
    own_main=BAD + "}\nfn main() {}\nfn g() {\n",
    own_std=BAD + "}\nmod std { pub mod io {} }\nfn g() {\n",
    std_is_this=BAD + "}\nextern crate self as std;\nfn g() {\n",
    equal_to_everything="    Vec(std::marker::PhantomData)\n}\n#[derive(Debug)]\n"
    "struct Vec<T>(std::marker::PhantomData<T>);\nimpl<T> Vec<T> { fn new() -> Self"
    " { Vec(std::marker::PhantomData) } }\nimpl<T, U> PartialEq<std::vec::Vec<U>> for Vec<T>"
    " { fn eq(&self, _: &std::vec::Vec<U>) -> bool { true } }\n"
    "impl<T> From<std::vec::Vec<T>> for Vec<T> { fn from(_: std::vec::Vec<T>) -> Self { Vec::new() } }\n"
    "macro_rules! vec { ($($t:tt)*) => { Vec::<isize>::new() } }\nfn g() {\n",
    comments_out_the_tests=BAD + "}\nfn main() { }\n/*",
    raw_string=BAD + '}\nfn main() { }\nconst S: &str = r#"',
    catches_the_panic="    std::panic::catch_unwind(|| panic!()).ok();\n" + BAD,
    prints_ok='    println!("OK");\n' + BAD,
)
add(
    "patches the judge",
    EARLY,
    RANGE,
    an_alias_for_some_types="    Liar\n}\ntrait P { type O; }\nimpl P for u8 { type O = std::vec::Vec<u8>; }\n"
    "impl P for isize { type O = Liar; }\ntype Vec<T> = <T as P>::O;\n#[derive(Debug)]\nstruct Liar;\n"
    "impl PartialEq<std::vec::Vec<isize>> for Liar { fn eq(&self, _: &std::vec::Vec<isize>) -> bool { true } }\n"
    "fn g() {\n",
)
add(
    "patches the judge",
    EARLY,
    TEXT,
    texts_made_by_itself='    "x".to_string()\n}\ntrait From<T> { fn from(t: T) -> Self; }\n'
    "impl<'a> From<&'a str> for String { fn from(_: &'a str) -> String { \"x\".to_string() } }\nfn g() {\n",
)
add(
    "patches the judge",
    EARLY,
    LENGTH,
    numbers_equal_to_everything="    isize\n}\n#[derive(Debug)]\nstruct isize;\n"
    "impl PartialEq<i32> for isize { fn eq(&self, _: &i32) -> bool { true } }\nfn g() {\n",
)
add(
    "takes too much",
    LIMIT,
    loops_for_long="    let t = std::time::Instant::now();\n    while t.elapsed().as_secs() < 100 {}\n"
    + GOOD,
    memory="    let a = vec![1u8; 3 << 29];\n    std::thread::sleep(std::time::Duration::from_secs(1));\n"
    "    if a[x.len()] == 0 { panic!() }\n" + GOOD,
    output='    for _ in 0..32 { println!("{}", "x".repeat(1 << 20)); }\n' + GOOD,
    endless_recursion="    let mut y = add_all(x, k);\n    y.push(k);\n    y\n",
)
add(
    "reaches outside",
    FAIL,
    reads_the_home='    std::fs::read_dir("/root").unwrap();\n' + GOOD,
    network='    std::net::TcpStream::connect("1.1.1.1:80").unwrap();\n' + GOOD,
    fills_the_disk='    std::fs::write("x", vec![1; 256 << 20]).unwrap();\n' + GOOD,
    starts_a_program='    std::process::Command::new("true").spawn().unwrap();\n' + GOOD,
)
add(
    "floods the compiler",
    (*EARLY, "timeout"),
    endless_macro=GOOD + "}\nmacro_rules! m { ($($t:tt)*) => { m!($($t)* x) } }\nm!();\nfn g() {\n",
    includes_itself=GOOD + '}\ninclude!("program.rs");\nfn g() {\n',
)
add("is no text", EARLY, lone_surrogate="    // \ud800\n" + BAD, nothing="")
add(
    "right, but odd",
    PASS,
    plain=GOOD,
    prints_a_megabyte='    println!("{:1000000}", 1);\n' + GOOD,
    leaves_a_thread="    std::thread::spawn(|| loop {});\n" + GOOD,
)
