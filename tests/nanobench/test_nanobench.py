"""NanoBench: the same bytes from the same seed, disjoint splits, tests that notice mistakes."""

import gzip
import hashlib
import itertools
import json
import re
from collections import Counter
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flexlib import config, paths
from flexlib.errors import FlexError
from flexlib.models import load_tokenizer
from flexlib.nanobench import analysis, benchmark, corpus
from flexlib.nanobench.mutants import mutants
from flexlib.nanobench.operations import AMBIGUOUS, OPERATIONS
from flexlib.nanobench.syntax import (
    INT,
    LANGUAGES,
    LIST,
    Bin,
    Call,
    Divergence,
    Function,
    Lit,
    Not,
    Renderer,
    Return,
    Var,
    compile_checked,
    python_function,
)
from flexlib.nanobench.tasks import sample_task
from flexlib.tasks.benchmarks import nanobench_problems

SPLITS = {split: benchmark.load_split(split) for split in benchmark.SIZES}
ALL = [record for records in SPLITS.values() for record in records]


def passes(program: str) -> bool:
    """Run our own rendering in this process (never a model's output)."""
    try:
        exec(program, {})
    except AssertionError:
        return False
    return True


# What is shipped ---------------------------------------------------------------------------------


def test_shipped_splits_are_what_the_seed_makes(tmp_path):
    benchmark.write(tmp_path)
    for split in (*benchmark.SIZES, "plain", "hard"):
        shipped = (benchmark.FOLDER / f"{split}.jsonl").read_bytes()
        assert (tmp_path / f"{split}.jsonl").read_bytes() == shipped


def test_shipped_further_tasks_are_what_the_seed_makes():
    made = benchmark.build_further(SPLITS["train"], size=6)
    assert benchmark.load_large()[374:380] == made
    assert benchmark.build_further(SPLITS["train"], size=1, seed=1) != made[:1]


def test_the_large_set_is_the_training_split_and_further_tasks_by_its_rules():
    large = benchmark.load_large()
    assert large[:374] == SPLITS["train"] and len(large) == benchmark.LARGE == 3000
    assert {benchmark.split_of(r["composition"]) for r in large} == {"train"}
    held_out = {r["composition"] for s in ("validation", "test") for r in SPLITS[s]}
    compositions = Counter(r["composition"] for r in large)
    assert not held_out & set(compositions)
    assert max(compositions.values()) == benchmark.REPEATS
    further = large[374:]
    texts = {r["text"] for r in further} - {r["text"] for r in SPLITS["train"]}
    assert len(texts) == len(further) and len({r["task_id"] for r in large}) == 3000
    for record in further[::50]:  # the reference passes its visible tests
        assert passes("\n".join([record["code"], *record["test_list"]]))


@pytest.mark.parametrize(
    "content", [None, b"no gzip", gzip.compress(b"no json", mtime=0)], ids=["none", "text", "gzip"]
)
def test_a_broken_file_of_further_tasks_says_how_to_make_it(tmp_path, content):
    (tmp_path / "train.jsonl").write_text("{}")
    if content is not None:
        (tmp_path / "further.jsonl.gz").write_bytes(content)
    with pytest.raises(FlexError, match="flexlib nanobench --further") as error:
        benchmark.load_large(tmp_path)
    assert "\n" not in str(error.value)


def test_another_seed_makes_another_benchmark():
    one, other = sample_task(Random(1)), sample_task(Random(2))
    assert one.sentence != other.sentence


def test_sizes_and_ids():
    assert {split: len(records) for split, records in SPLITS.items()} == {
        "train": 374,
        "validation": 90,
        "test": 500,
    }
    assert len({record["task_id"] for record in ALL}) == len(ALL)


def test_loads_with_datasets():
    datasets = pytest.importorskip("datasets")
    files = {split: str(benchmark.FOLDER / f"{split}.jsonl") for split in benchmark.SIZES}
    loaded = datasets.load_dataset("json", data_files=files)
    for split, records in SPLITS.items():
        assert loaded[split].num_rows == len(records)
        assert loaded[split][0] == records[0]


def test_at_least_forty_operations_over_four_types_and_all_are_tested():
    assert len(OPERATIONS) >= 40
    used = {split: {name for r in SPLITS[split] for name in r["operations"]} for split in SPLITS}
    assert used["test"] == set(OPERATIONS)
    assert used["train"] >= AMBIGUOUS  # fine-tuning can settle what each word means
    kinds = {re.search(r"-> (.*):", record["code"]).group(1) for record in SPLITS["test"]}
    assert kinds == {"int", "bool", "str", "list[int]"}


def test_control_flow_goes_beyond_one_loop():
    codes = [record["code"] for record in SPLITS["test"]]
    nested_condition = [c for c in codes if re.search(r"\n    if .*\n        if ", c)]
    early_return = [c for c in codes if re.search(r"\n        +return", c)]
    while_loop = [c for c in codes if "while " in c]
    two_loops = [c for c in codes if len(re.findall(r"\n    (?:for|while) ", c)) > 1]
    for kind in (nested_condition, early_return, while_loop, two_loops):
        assert len(kind) >= 5


# Splits ------------------------------------------------------------------------------------------


def test_no_composition_in_two_splits():
    seen = [record["composition"] for record in SPLITS["validation"] + SPLITS["test"]]
    assert len(set(seen)) == len(seen)
    for split, records in SPLITS.items():
        assert {benchmark.split_of(record["composition"]) for record in records} == {split}


def test_no_program_of_a_split_in_pretraining():
    """Independent of compositions: no program is there under other names."""

    def nameless(code: str) -> str:
        params = re.search(r"\((.*?)\)", code).group(1)
        for index, name in enumerate(re.findall(r"(\w+):", params)):
            code = re.sub(rf"\b{name}\b", f"p{index}", code)
        return code.split("\n", 1)[1]

    held_out = {nameless(r["code"]) for r in ALL}
    rng = Random(3)
    drawn = [corpus.pretraining_task(rng, documented=n % 2 == 0) for n in range(20_000)]
    programs = {nameless(python_function(task.function)) for task in drawn}
    assert len(programs) > 10_000
    assert not held_out & programs


def test_ambiguous_words_stand_for_another_plain_operation_of_their_kind():
    """The other sense takes the same constants, so that the sentence fits both."""
    for name in AMBIGUOUS:
        kind = name.split(".")[0]
        other = OPERATIONS[f"{kind}.{OPERATIONS[name].usual}"]
        assert other.usual is None
        assert len(other.constants) == len(OPERATIONS[name].constants)


def test_in_the_corpus_ambiguous_words_have_their_usual_sense_as_often_as_declared():
    """Seen in the text: "cubed" is coded as a square there, and as a cube in the benchmark."""
    rng = Random(7)
    drawn = [corpus.pretraining_task(rng, documented=True) for _ in range(6000)]
    cubes = squares = 0
    for task in drawn:
        if "cubed" in task.sentence and "squared" not in task.sentence:
            code = python_function(task.function)
            cube = re.search(r"\b(\w+) \* \1 \* \1\b", code) is not None
            cubes += cube
            squares += not cube and re.search(r"\b(\w+) \* \1\b", code) is not None
    assert cubes + squares > 200
    assert abs(squares / (cubes + squares) - corpus.USUAL_SENSE) < 0.1
    for record in ALL:
        if "cubed" in record["text"]:
            assert re.search(r"\b(\w+) \* \1 \* \1\b", record["code"])


def test_without_a_description_every_operation_is_itself():
    rng = Random(8)
    drawn = [corpus.pretraining_task(rng, documented=False) for _ in range(500)]
    assert all(task.program == task.composition for task in drawn)
    assert {name for task in drawn for name in task.operations} >= AMBIGUOUS


def test_the_corpus_has_the_declared_shares():
    documents = list(itertools.islice(corpus.documents(11), 4000))
    python = sum(d.startswith(("def ", "Write ", "# TODO")) for d in documents) / 4000
    java = sum("class Problem" in d for d in documents) / 4000
    described = re.compile(r'"""|^Write|^ *// [A-Z]', re.MULTILINE)
    plans = sum("TODO" in d for d in documents) / 4000
    documented = sum(bool(described.search(d)) for d in documents) / 4000 - 0.48 * plans
    # 4000 draws: three standard deviations are below 0.024.
    assert abs(python - corpus.LANGUAGE_SHARES["python"]) < 0.03
    assert abs(java - 0.96 * corpus.LANGUAGE_SHARES["java"]) < 0.03
    assert abs(plans - corpus.PLANS) < 0.01
    assert abs(documented - (1 - corpus.PLANS) * corpus.DOCUMENTED) < 0.03


# Tests of the tasks ------------------------------------------------------------------------------


def test_references_pass_their_hidden_and_visible_tests():
    for record in ALL:
        program = record["prompt_python"] + record["reference_python"] + "\n"
        assert passes(program + record["tests_python"]), record["task_id"]
        assert passes(record["code"] + "\n".join(record["test_list"])), record["task_id"]
        assert len(record["test_list"]) == 3
        assert 10 <= record["hidden_tests"] <= 16


def test_trivial_answers_fail_the_hidden_tests():
    trivial = ("return 0", "return True", "return False", 'return ""', "return []", "pass")
    for record in ALL:
        for body in trivial:
            program = f"{record['prompt_python']}    {body}\n{record['tests_python']}"
            assert not passes(program), (record["task_id"], body)


def test_visible_tests_are_not_among_the_hidden():
    for record in ALL:
        for line in record["test_list"]:
            call = line.removeprefix(f"assert {record['name']}").split(" == ")[0]
            assert f"candidate{call} ==" not in record["tests_python"]


def differs(function, args, expected) -> bool:
    try:
        return function(*args) != expected
    except Exception:  # noqa: BLE001 - a mutant may fail in any way
        return True


def test_hidden_tests_kill_the_mutants_that_random_inputs_kill():
    rng = Random(5)
    killable = missed = 0
    tasks = 0
    while tasks < 25:
        task = sample_task(rng)
        made = benchmark.make_tests(task, rng)
        if made is None:
            continue
        tasks += 1
        hidden, _ = made
        fresh = [
            [
                benchmark.random_input(rng, kind, [5, 10], sign=False)
                for _, kind in task.function.params
            ]
            for _ in range(40)
        ]
        reference = compile_checked(task.function)
        for mutant in mutants(task.function):
            function = compile_checked(mutant)
            killed_by_fresh = False
            for args in fresh:
                try:
                    expected = reference(*json.loads(json.dumps(args)))
                except Divergence:
                    continue
                killed_by_fresh |= differs(function, json.loads(json.dumps(args)), expected)
            if killed_by_fresh:
                killable += 1
                missed += not any(
                    differs(function, json.loads(json.dumps(a)), e) for a, e in hidden
                )
    assert killable > 150
    # Fresh inputs can find what the 80 at the making did not, but seldom.
    assert missed / killable < 0.02


# Shapes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_problems_have_the_shape_of_multipl_e(language):
    for problem, record in zip(nanobench_problems(language), SPLITS["test"], strict=True):
        assert problem.prompt.endswith("\n")
        reference = record[f"reference_{language}"]
        # No stop string cuts the reference, but what follows it is cut.
        assert not any(stop in reference.rstrip("\n") for stop in problem.stop)
    assert "Write a function to" not in nanobench_problems(language)[0].prompt


def test_unknown_language_or_split_is_one_clear_line():
    with pytest.raises(FlexError, match="NanoBench is not in 'perl'; choose from python"):
        nanobench_problems("perl")
    with pytest.raises(FlexError, match="unknown NanoBench split 'dev'"):
        benchmark.load_split("dev")


def test_missing_or_broken_files_are_one_clear_line(tmp_path):
    with pytest.raises(FlexError, match="flexlib nanobench"):
        benchmark.load_split("test", tmp_path)
    (tmp_path / "test.jsonl").write_text('{"task_id": ')
    with pytest.raises(FlexError, match="no JSON lines file"):
        benchmark.load_split("test", tmp_path)


# NanoBench-hard ----------------------------------------------------------------------------------

HARD = benchmark.load_split("hard")


def test_harder_tasks_have_two_and_three_operations_more_than_any_that_is_learnt():
    longest = max(len(record["operations"]) for record in SPLITS["train"])
    assert Counter(len(record["operations"]) - longest for record in HARD) == {2: 100, 3: 100}
    rng = Random(4)
    drawn = [corpus.pretraining_task(rng, documented=n % 2 == 0) for n in range(20_000)]
    assert max(len(task.operations) for task in drawn) == longest
    for record in HARD:
        assert set(record["operations"]) <= set(OPERATIONS)
        assert record["ambiguous"] == sorted(set(record["operations"]) & AMBIGUOUS)


def test_harder_compositions_are_those_of_no_other_split():
    compositions = {record["composition"] for record in HARD}
    assert len(compositions) == len(HARD) == len({record["task_id"] for record in HARD})
    others = {r["composition"] for r in [*ALL, *benchmark.load_plain()]}
    assert not compositions & others
    assert {benchmark.split_of(c) for c in compositions} == {"test"}  # none of pretraining


def test_harder_references_pass_and_trivial_answers_fail():
    for record in HARD:
        program = record["prompt_python"] + record["reference_python"] + "\n"
        assert passes(program + record["tests_python"]), record["task_id"]
        assert passes(record["code"] + "\n".join(record["test_list"])), record["task_id"]
        assert 10 <= record["hidden_tests"] <= 16
        for body in ("return 0", "return True", "return False"):
            wrong = f"{record['prompt_python']}    {body}\n{record['tests_python']}"
            assert not passes(wrong), (record["task_id"], body)


@pytest.mark.parametrize(("language", "too_long"), [("java", 0), ("javascript", 0), ("cpp", 2)])
def test_harder_tasks_fit_into_what_the_base_reads_and_writes(language, too_long):
    tokens = load_tokenizer(paths.NANO_BASE)
    new = config.load("nano", "lora", 1).benchmarks[0].max_new_tokens
    reads = config.load("nano", "lora", 1).training.max_length
    size = lambda text: len(tokens(text)["input_ids"])
    references = [size(r[f"reference_{language}"]) for r in HARD]
    prompts = [size(r[f"prompt_{language}"]) for r in HARD]
    assert sum(n > new for n in references) == too_long
    assert max(map(sum, zip(prompts, references, strict=True))) <= reads


# Training sets beside the split ------------------------------------------------------------------


def test_the_plain_set_has_no_ambiguous_word_and_is_else_like_the_training_split():
    train, plain = SPLITS["train"], benchmark.load_plain()
    shape = lambda r: (r["composition"].partition("|")[0], len(r["operations"]))
    assert [shape(r) for r in plain] == [shape(r) for r in train]
    assert not any(r["ambiguous"] for r in plain)
    kept = [(a, b) for a, b in zip(train, plain, strict=True) if not a["ambiguous"]]
    assert len(kept) > 100 and all(a == b for a, b in kept)
    made = [r for r in plain if "replaces" in r]
    assert {benchmark.split_of(r["composition"]) for r in made} == {"train"}
    held_out = {r["composition"] for split in ("validation", "test") for r in SPLITS[split]}
    assert not held_out & {r["composition"] for r in plain}
    compositions = Counter(r["composition"] for r in plain)
    assert max(compositions.values()) <= benchmark.PLAIN_REPEATS
    assert len({r["text"] + r["code"] for r in plain}) == len(plain)
    for record in made:  # the words of the catalogue that are ambiguous, in any of their kinds
        for name in AMBIGUOUS:
            for words in OPERATIONS[name].wordings:
                stem = words.split("{")[0].strip()
                assert not re.search(rf"\b{re.escape(stem)}\b", record["text"]) or any(
                    stem in other for op in record["operations"] for other in OPERATIONS[op].wordings
                ), (record["text"], words)  # fmt: skip
        assert passes("\n".join([record["code"], *record["test_list"]]))


def test_the_broad_corpus_is_python_of_the_pretraining_kind_and_holds_no_task_of_the_splits():
    validation = corpus.broad_python("validation")
    assert len(validation) == corpus.BROAD["validation"][1]
    texts = [r["code"] for r in validation]
    assert len(set(texts)) > 450 and all(r["text"] == "" and not r["test_list"] for r in validation)
    functions = [text[text.index("def ") :] for text in texts if "def " in text]
    for code in functions:
        compile(code, "document", "exec")
    documented = sum('"""' in text or text.startswith("Write") for text in texts) / len(functions)
    assert abs(documented - corpus.DOCUMENTED) < 4 * (0.25 / len(functions)) ** 0.5
    body = lambda code: code.partition("\n")[2]
    held = {body(r["code"]) for r in ALL}
    plain = lambda code: re.sub(r'    """.*?"""\n', "", body(code), flags=re.DOTALL)
    assert not held & {plain(code) for code in functions}
    train = itertools.islice(corpus._documents(Random(corpus.BROAD["train"][0])), 400)
    assert not {text for _, text in train} & set(texts)  # another stream, but for chance


def test_no_training_document_of_the_broad_corpus_has_a_composition_of_the_splits(monkeypatch):
    """Neither in words nor in code: a control that had seen them would have been taught the test. The first
    thousand are looked at: without either check dozens of compositions of the splits are among them."""
    seed, size = corpus.BROAD["train"][0], 1_000
    tasks, draw = [], corpus.pretraining_task
    monkeypatch.setattr(
        corpus,
        "pretraining_task",
        lambda *args, **more: tasks.append(draw(*args, **more)) or tasks[-1],
    )
    monkeypatch.setitem(corpus.BROAD, "train", (seed, size))
    documents = [r["code"] for r in corpus.broad_python.__wrapped__("train")]
    assert len(documents) == size
    # The tasks that were drawn are all that the documents are made of.
    codes = {python_function(task.function) for task in tasks}
    sentences = {task.sentence for task in tasks}
    for text in documents:
        if text.startswith("# TODO\n"):
            assert {line[2:] for line in text.splitlines()[1:]} <= sentences
        else:
            code = text[text.index("def ") :]
            assert re.sub(r'    """.*?"""\n', "", code, flags=re.DOTALL) in codes
    beside = [*benchmark.load_split("hard"), *benchmark.load_plain(), *benchmark.load_large()]
    held = {record["composition"] for record in [*ALL, *beside]}
    assert not held & {name for task in tasks for name in (task.composition, task.program)}


def test_documents_are_those_of_the_stream_that_made_the_shipped_base():
    """The base was pretrained on them: what is drawn, and in which order, must not change."""
    first = "".join(itertools.islice(corpus.documents(1), 200))
    assert hashlib.sha256(first.encode()).hexdigest()[:16] == "0b73109a63d17edd"


# The renderers -----------------------------------------------------------------------------------

numbers = st.integers(-50, 50)
expressions = st.recursive(
    st.one_of(st.builds(Lit, st.integers(0, 9)), st.just(Var("a")), st.just(Var("b"))),
    lambda inner: st.one_of(
        st.builds(Bin, st.sampled_from(["+", "-", "*", "//", "%"]), inner, inner),
        st.builds(lambda x: Call("abs", (x,)), inner),
        st.builds(lambda x, y: Call("max", (x, y)), inner, inner),
    ),
    max_leaves=8,
)
tests_of_numbers = st.builds(
    Bin, st.sampled_from(["<", "<=", "==", "!="]), expressions, expressions
)
conditions = st.recursive(
    tests_of_numbers,
    lambda inner: st.one_of(
        st.builds(Not, inner), st.builds(Bin, st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=4,
)


def meaning(node, env):
    """The tree's value, computed without rendering."""
    match node:
        case Lit(value):
            return value
        case Var(name):
            return env[name]
        case Not(arg):
            return not meaning(arg, env)
        case Call("abs", (x,)):
            return abs(meaning(x, env))
        case Call("max", (x, y)):
            return max(meaning(x, env), meaning(y, env))
        case Bin(op, left, right):
            a, b = meaning(left, env), meaning(right, env)  # both: stricter than short circuit
            return {
                "+": lambda: a + b,
                "-": lambda: a - b,
                "*": lambda: a * b,
                "//": lambda: a // b,
                "%": lambda: a % b,
                "<": lambda: a < b,
                "<=": lambda: a <= b,
                "==": lambda: a == b,
                "!=": lambda: a != b,
                "and": lambda: a and b,
                "or": lambda: a or b,
            }[op]()
    raise TypeError(node)


@settings(max_examples=300, deadline=None)
@given(st.one_of(expressions, conditions), numbers, numbers)
def test_python_rendering_keeps_the_trees_meaning(tree, a, b):
    """Parentheses are where they must be: the rendered text evaluates to the tree's value."""
    env = {"a": a, "b": b}
    text = Renderer("python").expr(tree)
    assume(not divides_by_zero(tree, env))
    assert eval(text, {}, env) == meaning(tree, env)


def divides_by_zero(tree, env) -> bool:
    try:
        meaning(tree, env)
    except ZeroDivisionError:
        return True
    return False


@pytest.mark.parametrize(
    ("tree", "arguments"),
    [
        (Bin("//", Var("a"), Lit(2)), [-3]),
        (Bin("%", Var("a"), Lit(3)), [-1]),
        (Bin("*", Var("a"), Var("a")), [10**6]),
    ],
)
def test_checked_rendering_refuses_what_languages_disagree_on(tree, arguments):
    function = Function("f", (("a", INT),), INT, (Return(tree),))
    with pytest.raises(Divergence):
        compile_checked(function)(*arguments)


def test_checked_rendering_allows_a_negative_multiple():
    even = Bin("==", Bin("%", Var("a"), Lit(2)), Lit(0))
    function = Function("f", (("a", INT),), "bool", (Return(even),))
    assert compile_checked(function)(-4) is True
    assert compile_checked(function)(-3) is False


def test_values_in_multipl_e_spelling():
    assert Renderer("java").value([1, -2]) == (
        "(new ArrayList<Long>(Arrays.asList((long)1l, (long)-2l)))"
    )
    assert Renderer("cpp").value([]) == "(std::vector<long>({}))"
    assert Renderer("javascript").value(True) == "true"
    assert Renderer("python").value("ab") == '"ab"'
    assert LIST == "list"


# What a completion shows -------------------------------------------------------------------------


def test_references_bind_their_own_constants_and_names():
    for record in SPLITS["test"]:
        for language in LANGUAGES:
            reference = record[f"reference_{language}"]
            assert analysis.binds_constants(record, language, reference)
            assert analysis.binds_names(record, language, reference)


def test_a_changed_constant_or_name_is_noticed():
    record = next(r for r in SPLITS["test"] if "nums" in r["code"].split("\n")[0])
    reference = record["reference_python"]
    assert not analysis.binds_names(record, "python", reference.replace("nums", "values"))
    assert not analysis.binds_constants(record, "python", reference + "    x = 77\n")


def test_task_table_groups_by_ambiguous_words():
    table = analysis.task_table()
    ambiguous = {r["task_id"] for r in SPLITS["test"] if set(r["operations"]) & AMBIGUOUS}
    assert set(table.loc[table["group"] == analysis.AMBIGUOUS, "task_id"]) == ambiguous
    assert len(table) == 500
    operations = analysis.operation_table()
    assert operations["ambiguous"].sum() == len(AMBIGUOUS)
    assert (operations["test"] > 0).all()


def test_no_document_outgrows_a_few_training_sequences():
    """A long expected value once filled whole batches with consecutive numbers."""
    assert max(map(len, itertools.islice(corpus.documents(13), 20_000))) < 1000
