"""The languages that nothing installs unasked: programs of known truth, on MultiPL-E's own prompts."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from grading_helpers import DATA, judge, judge_all, needs, needs_data

from flexlib.errors import FlexError
from flexlib.grading import Program, files, pool, sandbox, selfcheck, tools
from flexlib.grading.hostile import CASES, PROMPTS, TESTS
from flexlib.grading.inside import joining
from flexlib.tasks.benchmarks import load_benchmark
from flexlib.tasks.languages import APART, GUARDED, LANGUAGES

SIX = {name: known for name, known in LANGUAGES.items() if known.optional}

# Our own answers to HumanEval 45 (numbers with a fraction), 136 (what may be missing), 111 (a map) and
# 28 (a list of strings), each up to where the benchmark's stop strings cut.
ANSWERS = {
    "typescript": (
        "  return (a * h) / 2;\n}\n",
        (
            "  const low = lst.filter((v) => v < 0);\n  const high = lst.filter((v) => v > 0);\n"
            "  return [low.length ? Math.max(...low) : undefined, high.length ? Math.min(...high) : undefined];\n}\n"
        ),
        (
            "  const n: {[key: string]: number} = {};\n"
            "  for (const w of test.split(' ')) if (w) n[w] = (n[w] || 0) + 1;\n"
            "  const most = Math.max(0, ...Object.values(n));\n"
            "  for (const w of Object.keys(n)) if (n[w] < most) delete n[w];\n  return n;\n}\n"
        ),
        "  return strings.join('');\n}\n",
    ),
    "php": (
        "    return $a * $h / 2.0;\n}\n",
        (
            "    $low = array_filter($lst, fn($v) => $v < 0);\n    $high = array_filter($lst, fn($v) => $v > 0);\n"
            "    return [$low ? max($low) : null, $high ? min($high) : null];\n}\n"
        ),
        (
            "    if ($test === '') return [];\n    $n = array_count_values(preg_split('/ +/', trim($test)));\n"
            "    $most = max($n);\n    return array_filter($n, fn($v) => $v === $most);\n}\n"
        ),
        "    return implode('', $strings);\n}\n",
    ),
    "go": (
        "    return float64(a*h) / 2\n}\n",
        (
            "    var low, high interface{}\n    for _, v := range lst {\n"
            "        if v < 0 && (low == nil || v > low.(int)) {\n            low = v\n        }\n"
            "        if v > 0 && (high == nil || v < high.(int)) {\n            high = v\n        }\n    }\n"
            "    return []interface{}{low, high}\n}\n"
        ),
        (
            '    n, most, word := map[string]int{}, 0, ""\n    for _, c := range test + " " {\n'
            "        if c != ' ' {\n            word += string(c)\n        } else if word != \"\" {\n"
            '            n[word]++\n            word = ""\n        }\n    }\n'
            "    for _, v := range n {\n        if v > most {\n            most = v\n        }\n    }\n"
            "    for w, v := range n {\n        if v < most {\n            delete(n, w)\n        }\n    }\n"
            "    return n\n}\n"
        ),
        '    all := ""\n    for _, s := range strings {\n        all += s\n    }\n    return all\n}\n',
    ),
    "rust": (
        "    (a * h) as f64 / 2.0\n",
        "    (lst.iter().filter(|v| **v < 0).max().cloned(), lst.iter().filter(|v| **v > 0).min().cloned())\n",
        (
            "    let mut n = HashMap::new();\n    for w in test.split_whitespace() {\n"
            "        *n.entry(w.to_string()).or_insert(0) += 1;\n    }\n"
            "    let most = n.values().max().cloned().unwrap_or(0);\n"
            "    n.retain(|_, v| *v == most);\n    n\n"
        ),
        "    strings.concat()\n",
    ),
    "lua": (
        "    return a * h / 2\nend\n",
        (
            "    local low, high\n    for _, v in ipairs(lst) do\n"
            "        if v < 0 and (not low or v > low) then low = v end\n"
            "        if v > 0 and (not high or v < high) then high = v end\n    end\n    return { low, high }\nend\n"
        ),
        (
            "    local n, most = {}, 0\n    for w in test:gmatch('%S+') do\n        n[w] = (n[w] or 0) + 1\n"
            "        most = math.max(most, n[w])\n    end\n"
            "    for w, v in pairs(n) do if v < most then n[w] = nil end end\n    return n\nend\n"
        ),
        "    return table.concat(strings)\nend\n",
    ),
    "racket": (
        "  (/ (* a h) 2.0))\n",
        (
            "  (let ([low (filter negative? lst)] [high (filter positive? lst)])\n"
            "    (list (and (pair? low) (apply max low)) (and (pair? high) (apply min high)))))\n"
        ),
        (
            "  (let* ([n (for/fold ([n (hash)]) ([w (string-split test)]) (hash-update n w add1 0))]\n"
            "         [most (apply max 0 (hash-values n))])\n"
            "    (for/hash ([(w v) n] #:when (= v most)) (values w v))))\n"
        ),
        "  (apply string-append strings))\n",
    ),
}
NAMES = (
    "HumanEval_45_triangle_area",
    "HumanEval_136_largest_smallest_integers",
    "HumanEval_111_histogram",
    "HumanEval_28_concatenate",
)

# MultiPL-E's own way: these end with 0, and Racket without a word on standard error, where it passes.
BARE = {
    "typescript": "cp {file} p.ts && tsc --target esnext p.ts && node p.js",
    "php": "php {file}",
    "go": "cp {file} p_test.go && GOCACHE=$PWD/cache HOME=$PWD go test p_test.go",
    "rust": "rustc {file} -o p && ./p",
    "lua": "lua {file}",
    "racket": '! racket {file} 2>&1 >/dev/null | grep -q "" ',
}


def short(language):
    """As MultiPL-E's tables are called: Go's language is go_test.go there."""
    return SIX[language].multipl_e.partition("_")[0]


def problems_in(language):
    return load_benchmark(f"multipl-e-{short(language)}", DATA)


def plain_cases(language):
    """A right program, a wrong one and one that is none, on the problem of the hostile ones."""
    [right] = [c for c in CASES if c.language == language and c.name == "plain"]
    [wrong] = [c for c in CASES if c.language == language and c.name == "prints ok"]
    return right.program, wrong.program, right.program.completion + "((("


def test_these_are_the_six():
    assert set(SIX) == set(ANSWERS) == set(BARE)
    assert {known.trust for name, known in SIX.items() if name != "typescript"} == {GUARDED}
    assert SIX["typescript"].trust == APART
    assert all(not known.optional for name, known in LANGUAGES.items() if name not in ANSWERS)


@needs_data
@pytest.mark.parametrize("language", SIX)
def test_right_answers_pass_and_half_of_them_do_not(language):
    needs(language)
    problems = {p.task_id: p for p in problems_in(language)}
    programs = []
    for name, answer in zip(NAMES, ANSWERS[language], strict=True):
        problem = problems[name]
        assert problem.stop == SIX[language].stop
        assert not any(stop in answer.rstrip() for stop in problem.stop)
        programs.append(Program(name, language, problem.prompt, answer, problem.tests))
        half = answer[: len(answer) // 2]
        programs.append(Program(f"half {name}", language, problem.prompt, half, problem.tests))
    verdicts = judge_all(programs, workers=2)
    assert [v for v in verdicts[::2] if not v.passed] == []
    assert [v for v in verdicts[1::2] if v.verdict not in ("compile_error", "wrong")] == []


@needs_data
@pytest.mark.parametrize("language", SIX)
def test_the_tests_of_the_benchmark_have_the_form_that_the_grader_takes(language):
    """Of every problem, and the texts alone: nothing is run."""
    for problem in problems_in(language):
        assert problem.language == language
        if language != "typescript":
            made, _ = joining.JOIN[language](problem.prompt, "", problem.tests)
            assert any(text.startswith(problem.prompt) for text in made.values())
        if language == "lua":
            assert problem.tests.count("os.exit(lu.LuaUnit.run())") == 1
        if language == "php":
            assert problem.tests.rstrip().endswith("test();")


@pytest.mark.parametrize("language", SIX)
def test_the_bare_tools_agree(language, tmp_path):
    needs(language)
    right, wrong, none = plain_cases(language)
    none = Program("none", language, right.prompt, none, right.tests)
    verdicts = judge_all([right, wrong, none])
    assert [v.verdict for v in verdicts] == ["pass", "wrong", "compile_error"]
    for program, verdict in zip((right, wrong, none), verdicts, strict=True):
        file = tmp_path / f"program{SIX[language].suffix}"
        file.write_text(f"{program.prompt}{program.completion}\n{program.tests}")
        done = subprocess.run(
            ["sh", "-c", BARE[language].format(file=file)],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            timeout=100,
        )
        assert (done.returncode == 0) == verdict.passed, (verdict, done)


@pytest.mark.parametrize("language", SIX)
def test_published_verdicts(language):
    """MultiPL-E's results folders, where someone has brought them: DATA/multipl-e/results-LANGUAGE."""
    needs(language)
    folder = DATA / "multipl-e" / f"results-{short(language)}"
    if not folder.is_dir():
        pytest.skip(f"no published completions in {folder}")
    differ, seen = [], 0
    for path in files.completion_files(folder):
        _, programs = files.read_completions(path)
        published = {
            f"{name}#{sample}": passed for name, sample, passed in files.read_results(path)
        }
        for verdict in judge_all(programs, workers=2):
            seen += 1
            differ += [verdict] if verdict.passed != published[verdict.id] else []
    assert seen and differ == []


def test_what_is_missing_is_said_in_one_line(monkeypatch):
    """Nothing fails where a toolchain is absent: who asks for it is told what to install."""
    monkeypatch.setattr(shutil, "which", lambda command, path=None: None)
    here, missing = selfcheck.available_languages()
    assert not set(here) & set(SIX)
    for language, known in SIX.items():
        assert "apt-get install" in missing[language] and "\n" not in missing[language]
        assert known.package in missing[language] or language == "typescript"


@pytest.mark.parametrize("macro", ["include", "include_str", "include_bytes"])
def test_a_rust_program_that_reads_its_own_source_is_refused(macro):
    """The tests are in it."""
    with pytest.raises(joining.Refused, match=macro):
        joining.rust("", f'    let s = {macro}!("program.rs");\n', "fn main() {\n}\n")


def test_a_rust_program_that_would_run_before_the_guard_is_refused():
    needs("rust")
    verdict = judge("rust", "    // link_section is no word of an answer\n    x\n")
    assert verdict.verdict == "compile_error" and "link_section" in verdict.detail


def test_go_is_vetted_as_by_go_test():
    needs("go")
    body = "\tfmt.Println(string(k))\n\tr := []int{}\n\tfor _, v := range x {\n\t\tr = append(r, v+k)\n\t}\n\treturn r\n}\n"
    verdict = judge("go", body)
    assert verdict.verdict == "compile_error" and "conversion" in verdict.detail


def test_a_word_on_standard_input_is_gone_when_the_program_starts():
    """And its runner, its tests and its memory are not in files that it can open."""
    needs("php")
    body = (
        "    $seen = [file_exists('/proc/self/mem'), count(glob('*')), @fopen('php://stdin', 'r')];\n"
        "    if ($seen !== [false, 1, false]) exit(9);\n"
        "    return array_map(fn($v) => $v + $k, $x);\n}\n"
    )
    assert judge("php", body).passed


def test_a_run_can_be_asked_for_them():
    """By a decoding of the profile small, whose other runs keep their names."""
    from flexlib import config

    wanted = config.load("small", "base", 0, decoding="six-languages")
    assert {b.name: b.language for b in wanted.benchmarks} == {
        f"multipl-e-{short(language)}": language for language in SIX
    }
    assert wanted.variant == "six-languages"
    for profile in config.profiles():
        assert not {b.language for b in config.load(profile, "base", 0).benchmarks} & set(SIX)


def test_only_macros_are_named_by_their_path():
    tests = '}\n\nfn main() {\n    let candidate = f;\n    assert_eq!(candidate("\\"vec!["), vec![1]);\n}\n'
    made, given = joining.rust("fn f() {\n", "", tests)
    assert '::std::assert_eq!(candidate("\\"vec!["), ::std::vec![1]);' in made["program.rs"]
    assert given == ""


@pytest.mark.parametrize("language", joining.JOIN)
@pytest.mark.parametrize("change", [lambda tests: "x()\n", lambda tests: tests + tests])
def test_tests_of_another_form_are_not_judged(language, change):
    with pytest.raises(joining.Unfit):
        joining.JOIN[language](PROMPTS[language], "", change(TESTS[language]))


def test_racket_checks_that_are_not_counted_are_not_judged():
    """Their number says that all were made; a right answer would be wrong without it."""
    tests = TESTS["racket"]
    for check in ("check-true", "check-=", "check-not-equal?", "check-equal", "fail"):
        with pytest.raises(joining.Unfit, match=re.escape(check)):
            joining.racket("", "", tests.replace("check-within", check, 1))
    for same in ('(list "(check-true")', "(list #\\() ; (check-true"):
        joining.racket("", "", tests.replace("(list)", same, 1))


@pytest.mark.parametrize("completion", ["  (map (lambda (v) (+ v k)) x))\n", "  '())\n"])
def test_racket_may_check_equality(completion):
    needs("racket")
    tests = TESTS["racket"].replace("check-within", "check-equal?").replace(" 0.001", "")
    assert judge("racket", completion, tests).passed == ("map" in completion)


@pytest.mark.parametrize(
    ("language", "long"),
    [
        ("rust", "    vec![1; 5000]\n"),
        ("go", "\treturn make([]int, 5000)\n}\n"),
        ("lua", "    local r = {}\n    for i = 1, 1500 do r[i] = i end\n    return r\nend\n"),
    ],
)
def test_a_wrong_answer_is_wrong_however_long_its_message(language, long):
    needs(language)
    assert judge(language, long).verdict == "wrong"


def test_what_rust_says_of_a_wrong_answer():
    """Before 1.73, and since."""
    code, pattern = SIX["rust"].judge.wrong
    assert code == 101
    assert re.search(pattern, "panicked at 'assertion failed: `(left == right)`\n  left: `1`")
    assert re.search(pattern, "panicked at p.rs:9:5:\nassertion `left == right` failed\n  left: 1")
    assert not re.search(pattern, "panicked at 'attempt to add with overflow'")


def test_a_toolchain_in_a_home_folder_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr(
        tools, "find", lambda command, *_, **__: Path("/home/me/.cargo/bin", command)
    )
    with pytest.raises(FlexError, match=r"/home/me.*run `sudo apt-get install rustc`"):
        tools.tools_for("rust")
    assert "/usr/bin/rustc" in SIX["rust"].packages and "go" in SIX["go"].packages


def test_go_is_prepared_from_a_cache_whose_path_has_a_space(monkeypatch, tmp_path):
    needs("go")
    archive, made, run = tmp_path / "my cache" / "fmt.a", tmp_path / "made", tools._run
    archive.parent.mkdir()
    archive.write_text("compiled")
    made.mkdir()
    listed = f"\nfmt={archive}\n"  # a package without an archive gives an empty line
    monkeypatch.setattr(tools, "_run", lambda c, what: listed if "list" in c else run(c, what))
    monkeypatch.setattr(tools, "cache_folder", lambda name, make: make(made) or made)
    tools.go_tools()
    assert (made / "imports").read_text() == "packagefile fmt=@/0.a\n"
    assert (made / "library/0.a").read_text() == "compiled"


def test_a_compiler_that_has_ended_is_no_fault_of_the_program():
    needs("typescript")
    broken = tools.tools_for("typescript")
    broken.config["typescript"] = {"judge": ["/bin/true"]}
    right, _, _ = plain_cases("typescript")
    inside = sandbox.Sandbox(broken)
    try:
        job = pool.job_of(right) | {"timeout": 5.0, "alone": False}
        inside.grade(job, 60.0)
        time.sleep(1)  # the next compiler is started ahead, and ends
        assert inside.grade(job, 60.0)["detail"] == "the compiler had ended"
        time.sleep(1)
        assert inside.grade(job, 60.0)["verdict"] == "harness_error"
    finally:
        inside.close()


@pytest.mark.parametrize("language", ["go", "rust"])
def test_the_names_of_the_guard_differ_each_time(language):
    right, _, _ = plain_cases(language)
    texts = [joining.JOIN[language](right.prompt, right.completion, right.tests) for _ in range(2)]
    assert texts[0] != texts[1]


def test_what_trust_in_them_means():
    """The records say it: a program that finds the word in its memory passes. Racket shows it most easily."""
    needs("racket")
    thief = r"""
  (define memory (open-input-file "/proc/self/mem"))
  (for ([line (file->lines "/proc/self/maps")] #:when (regexp-match? #rx" rw-p " line))
    (define ends (map (lambda (s) (string->number s 16))
                      (rest (regexp-match #rx"^([0-9a-f]+)-([0-9a-f]+)" line))))
    (with-handlers ([exn:fail? void])
      (file-position memory (first ends))
      (define found (regexp-match #px#"([0-9a-f]{32})\n\\(require"
                                  (read-bytes (- (second ends) (first ends)) memory)))
      (when found (printf "\n~a\n" (second found)) (exit 0))))
  '())
"""
    assert judge("racket", thief).passed
    assert "memory of this process" in SIX["racket"].trust
