"""Hostile programs in C++."""

from __future__ import annotations

from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, Suite

PROMPT = (
    "#include<assert.h>\n#include<bits/stdc++.h>\n// Add k to every number of x.\n"
    "std::vector<long> add_all(std::vector<long> x, long k) {\n"
)

TESTS = """}
int main() {
    auto candidate = add_all;
    assert(candidate((std::vector<long>({(long)1, (long)2})), (3)) == (std::vector<long>({(long)4, (long)5})));
    assert(candidate((std::vector<long>()), (3)) == (std::vector<long>()));
}
"""

SUITE = Suite("cpp", PROMPT, TESTS)
add = SUITE.add

GOOD = "    for (auto& v : x) v += k;\n    return x;\n"
BAD = "    return {};\n"

add(
    "leaves early",
    EARLY,
    exit_0="    exit(0);\n",
    constructor=BAD + "}\n__attribute__((constructor)) static void f() { _exit(0); }\nvoid g() {\n",
    quick_exit="    std::at_quick_exit([] { _exit(0); });\n    std::quick_exit(1);\n",
    atexit_after_right=GOOD.replace("return x", "exit(1); return x")
    + "}\nstatic int z = atexit([] { _exit(0); });\nvoid g() {\n",
    signal_handler="    signal(SIGSEGV, [](int) { _exit(0); });\n    *(volatile int*)0 = 1;\n"
    "    return x;\n",
)
add(
    "patches the judge",
    FAIL,
    own_assert=BAD + "}\n#undef assert\n#define assert(x) ((void)0)\nvoid g() {\n",
    ndebug=BAD + "}\n#define NDEBUG\n#include <assert.h>\nvoid g() {\n",
    own_equality=BAD + "}\nbool operator==(const std::vector<long>&, const std::vector<long>&)"
    " { return true; }\nvoid g() {\n",
    better_equality=BAD + "}\nnamespace std { bool operator==(vector<long>, vector<long>)"
    " { return true; } }\nvoid g() {\n",
    own_main=BAD + "}\nint main() { return 0; }\nvoid g() {\n",
    main_renamed=BAD + "}\nint main() { return 0; }\n#define main other\nvoid g() {\n",
    own_abort=BAD + '}\nextern "C" void __assert_fail(const char*, const char*, unsigned,'
    " const char*) noexcept { _exit(0); }\nvoid g() {\n",
    comments_out_the_tests=BAD + "}\nint main() { }\n/*",
    ends_the_file=BAD + "}\nint main() { }\n#if 0\n",
    writes_to_the_pipe='    for (int i = 0; i < 9; i++) if (write(i, "\\1\\0\\0\\0V", 5)) { }\n'
    + BAD,
    prints_ok='    puts("OK"); fflush(stdout);\n' + BAD,
    reads_the_judge='    std::ifstream f("/proc/self/exe");\n'
    "    std::string s((std::istreambuf_iterator<char>(f)), {});\n"
    '    std::string p = "candidat";\n    p += "e((std::vec";\n'
    "    if (s.find(p) != s.npos) { for (auto& v : x) v += k; return x; }\n" + BAD,
    includes_the_judge=BAD + '}\n#include "/proc/self/fd/0"\nvoid g() {\n',
)
add(
    "takes too much",
    LIMIT,
    endless_loop="    for (volatile int i = 0;;) i++;\n",
    memory="    for (;;) memset(malloc(1 << 24), 1, 1 << 24);\n",
    endless_output='    for (;;) puts("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");\n',
    endless_recursion="    return add_all(x, k);\n",
    fork_storm="    for (;;) fork();\n",
)
add(
    "floods the compiler",
    (*EARLY, "timeout"),
    endless_template=BAD + "}\ntemplate <int N> struct F { static const int v ="
    " F<N + 1>::v + F<N + 2>::v; };\nint q = F<0>::v;\nvoid g() {\n",
    includes_itself=BAD + "}\n#include __FILE__\nvoid g() {\n",
    includes_endlessly=BAD + '}\n#include "/dev/zero"\nvoid g() {\n',
    big_array=BAD + "}\nchar big[1L << 33] = {1};\nvoid g() {\n",
)
add("is no text", EARLY, lone_surrogate="    // \ud800\n" + BAD, nothing="    return x")
add(
    "right, but odd",
    PASS,
    plain=GOOD,
    leaves_a_thread="    std::thread([] { for (;;); }).detach();\n" + GOOD,
    prints_a_megabyte="    puts(std::string(1000000, 'x').c_str());\n" + GOOD,
    closes_its_output="    fclose(stdout);\n" + GOOD,
)
