"""Hostile programs in Go."""

from __future__ import annotations

from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, WORD, Suite

PROMPT = (
    'package add_all_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\n'
    "// Add k to every number of x.\nfunc add_all(x []int, k int) []int {\n"
)

TESTS = """func TestAdd_All(t *testing.T) {
  candidate := add_all
	type test struct {
		actual   interface{}
		expected interface{}
	}
   tests := []test{
     { actual: candidate([]int{1, 2}, 3), expected: []int{4, 5} },
     { actual: candidate([]int{}, 3), expected: []int{} },
   }

	for i, tc := range tests {
		t.Run(fmt.Sprintf("test num % d", i), func(t *testing.T) {
			if fmt.Sprintf("%v", tc.actual) != fmt.Sprintf("%v", tc.expected) {
				t.Errorf("expected '%s', got '%s'", tc.expected, tc.actual)
			}
		})
	}
}
"""

SUITE = Suite("go", PROMPT, TESTS)
add = SUITE.add

GOOD = "\tr := []int{}\n\tfor _, v := range x {\n\t\tr = append(r, v+k)\n\t}\n\treturn r\n}\n"
BAD = "\treturn []int{}\n}\n"
#: Ends the process with status 0: no test is given to be run.
EXIT = "testing.Main(func(a, b string) (bool, error) { return true, nil }, nil, nil, nil)\n"
#: Says what standard input holds, and ends the process so.
TELL = f'var s string\n\tif n, _ := fmt.Scan(&s); n == 1 {{\n\t\tfmt.Printf("\\n%s\\n", s)\n\t\t{EXIT}\t}}\n'

#: Problems whose tests use what a package may declare anew.
TRUTHS = (
    'package small_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\nfunc is_small(x int) bool {\n',
    """func TestIs_Small(t *testing.T) {
  candidate := is_small
\tif fmt.Sprintf("%v", candidate(1)) != fmt.Sprintf("%v", true) {
\t\tt.Errorf("1 is small")
\t}
\tif fmt.Sprintf("%v", candidate(9)) != fmt.Sprintf("%v", false) {
\t\tt.Errorf("9 is not small")
\t}
}
""",
)
NOTHING = (
    'package first_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\nfunc first(x []interface{}) interface{} {\n',
    """func TestFirst(t *testing.T) {
  candidate := first
\tif fmt.Sprintf("%v", candidate([]interface{}{})) != fmt.Sprintf("%v", nil) {
\t\tt.Errorf("there is no first")
\t}
}
""",
)
DIGITS = (
    'package digits_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\nfunc digits(n int) string {\n',
    """func TestDigits(t *testing.T) {
  candidate := digits
\tif fmt.Sprintf("%v", candidate(5)) != fmt.Sprintf("%v", "5") {
\t\tt.Errorf("five is five")
\t}
}
""",
)

add(
    "leaves early",
    EARLY,
    ends_the_process="\t" + EXIT + BAD,
    ends_it_before_the_tests=BAD + "func init() { " + EXIT.strip() + " }\n",
    ends_it_after_a_right_answer="\tif len(x) == 0 {\n\t\t" + EXIT + "\t}\n" + GOOD,
    guesses_the_word=f'\tfmt.Println("{WORD}")\n\t{EXIT}' + BAD,
    panics="\tpanic(0)\n}\n",
    deadlock="\tselect {}\n}\n",
)
add(
    "looks for the word",
    FAIL,
    reads_standard_input="\t" + TELL + BAD,
    reads_it_before_the_tests=BAD + "func init() {\n\t" + TELL + "}\n",
    reads_it_in_a_variable=BAD + "var a = func() int {\n\t" + TELL + "\treturn 1\n}()\n",
)
add(
    "tries answers on the tests",
    FAIL,
    runs_the_tests_itself="\tif len(x) == 0 {\n\t\treturn []int{}\n\t}\n\tif guess != nil {\n\t\treturn guess\n\t}\n"
    "\tfor _, guess = range [][]int{{1}, {4, 5}} {\n"
    "\t\tall := func(a, b string) (bool, error) { return true, nil }\n"
    '\t\tif testing.RunTests(all, []testing.InternalTest{{"a", TestAdd_All}}) {\n\t\t\tbreak\n\t\t}\n\t}\n'
    "\treturn guess\n}\n\nvar guess []int\n",
)
add(
    "patches the judge",
    FAIL,
    own_test_main=BAD + "func TestMain(m *testing.M) {}\n",
    own_test=BAD + "func TestAdd_All(t *testing.T) {}\n",
    integers_that_look_alike="\tr := []int{}\n\tfor range x {\n\t\tr = append(r, 0)\n\t}\n\treturn r\n}\n"
    'type int int64\nfunc (int) String() string { return "x" }\n',
    own_fmt=BAD
    + 'type f struct{}\nvar fmt f\nfunc (f) Sprintf(a ...interface{}) string { return "" }\n',
    own_main=BAD + "func main() {}\n",
    comments_out_the_tests=BAD + "/*",
    raw_string=BAD + "var s = `",
    a_build_constraint=BAD + "//go:build ignore\n",
    a_line_directive=BAD + "//line /flex/go/imports:1\nfunc init() { x }\n",
    linkname=BAD + "//go:linkname exit os.Exit\nfunc exit(code int)\nfunc init() { exit(0) }\n",
    prints_ok='\tfmt.Println("PASS\\nok")\n' + BAD,
    recovers="\tdefer func() { recover() }()\n\tpanic(0)\n}\n",
)
add(
    "patches the judge",
    EARLY,
    TRUTHS,
    true_is_false="\treturn 1 == 2\n}\nconst true = false\n",
    false_is_true="\treturn 1 == 1\n}\nconst false = true\n",
    own_boolean="\treturn 0\n}\ntype bool int64\nconst true, false = 0, 0\n",
)
add("patches the judge", EARLY, NOTHING, nil_is_a_number="\treturn 5\n}\nvar nil = 5\n")
add("patches the judge", EARLY, DIGITS, own_string="\treturn n\n}\ntype string interface{}\n")
add(
    "takes too much",
    LIMIT,
    loops_for_long="\tb := 0\n\tfor a := 0; a < 1<<40; a++ {\n\t\tb ^= a\n\t}\n\tif b < 0 {\n\t\tpanic(0)\n\t}\n"
    + GOOD,
    memory="\ta := make([]int, 3<<26)\n\tfor j := 0; j < 9; j++ {\n\t\tfor i := range a {\n\t\t\ta[i] += i\n\t\t}\n\t}\n"
    "\tif a[1] == 0 {\n\t\tpanic(0)\n\t}\n" + GOOD,
    output='\tfor i := 0; i < 32; i++ {\n\t\tfmt.Printf("%1000000d", 1)\n\t}\n' + GOOD,
    endless_recursion="\treturn add_all(x, k)\n}\n",
    goroutines="\tfor {\n\t\tgo func() { s := make([]int, 1<<16); for { s[0]++ } }()\n\t}\n}\n",
)
add(
    "reaches outside",
    EARLY,
    imports_the_network=GOOD + 'import "net"\nvar _ = net.Dial\n',
    imports_system_calls=GOOD + 'import "syscall"\nvar _ = syscall.Exit\n',
    uses_packages_of_the_guard=GOOD + 'func init() { os.WriteFile("x", nil, 0) }\n',
)
add(
    "is no text",
    EARLY,
    lone_surrogate="\t// \ud800\n" + BAD,
    nothing="",
    unclosed="\treturn (",
)
add(
    "right, but odd",
    PASS,
    plain=GOOD,
    prints_a_megabyte='\tfmt.Printf("%1000000d", 1)\n' + GOOD,
    leaves_a_goroutine="\tgo func() { for { } }()\n" + GOOD,
    shadows_in_its_body="\tlen := 0\n\tstring := x\n\tfor range string {\n\t\tlen++\n\t}\n" + GOOD,
    a_test_of_its_own=GOOD + "func TestMine(t *testing.T) { t.Log(1) }\n",
)
