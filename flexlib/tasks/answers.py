"""How a model is asked for a program, and what of its answer is graded.

Asked to continue the prompt (the protocol of the study), a completion is graded up to a line that begins
with a fence, if ``cut_at_fence`` is set. Asked in the model's chat format, the answer is prose and a
code block, of which the first is taken apart: what it makes of the asked function becomes a completion
of the benchmark's own prompt, so that prompt and tests stay those of the benchmark.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from flexlib.config import BenchmarkSettings
from flexlib.errors import FlexError
from flexlib.tasks.benchmarks import Problem
from flexlib.tasks.languages import LANGUAGES

# For each protocol the system's turn, where it is not the template's own, and the request.
_TURNS: dict[str, tuple[str | None, str]] = {
    "chat": (
        None,
        (
            "Complete the following {name} function. Answer with one code block that holds the whole "
            "program.\n\n```{language}\n{prompt}\n```"
        ),
    ),
    # As the publishers of Qwen2.5-Coder ask: QwenLM/Qwen2.5-Coder, qwencoder-eval/instruct/multipl_e/chat.
    "chat-published": (
        "You are a helpful assistant.",
        (
            "Please continue to complete the function and return all completed code in a codeblock. "
            "Here is the given code to do completion:\n```{language}\n{prompt}\n```"
        ),
    ),
}
_PUBLISHED_NAMES = {"javascript": "js"}  # of the languages in that request, where they are not ours
_FENCE = re.compile(r"^```", re.MULTILINE)
# A line of Python that begins at the margin, and closes nothing; but for comments that an indented line
# follows, since these end no function.
_OUTSIDE = re.compile(r"(?<=\n)(?!(?:#[^\n]*\n(?:[ \t]*\n)*)+[ \t]+\S)[^\s)\]}]")
_USING = re.compile(r"^using\s[^;]+;", re.MULTILINE)
_BLOCK = re.compile(r"```[^\n]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)


def asked(
    problems: Sequence[Problem], settings: BenchmarkSettings, tokenizer: Any
) -> list[Problem]:
    """The problems with the prompts that the model sees.

    Raises:
        FlexError: chat with a model whose tokenizer has no chat template.
    """
    if settings.protocol is None:
        return list(problems)
    if not getattr(tokenizer, "chat_template", None):
        raise FlexError(
            "the tokenizer of the base has no chat template; leave out decoding.protocol"
        )
    return [
        dataclasses.replace(
            problem, prompt=_chat_prompt(problem, settings.protocol, tokenizer), stop=()
        )
        for problem in problems
    ]


def graded(problem: Problem, answer: str, settings: BenchmarkSettings) -> str:
    """What of a stored answer follows the benchmark's prompt in the program that is judged."""
    if settings.protocol is not None:
        return completion_of(problem, first_block(answer))
    return cut_at_fence(answer) if settings.cut_at_fence else answer


def cut_at_fence(text: str) -> str:
    """``text`` up to the first line that begins with three backticks."""
    fence = _FENCE.search(text)
    return text[: fence.start()] if fence else text


def alone(problem: Problem, answer: str) -> str:
    """An answer up to the end of the function that was asked for: without a fence, prose or further code
    after it. What has no such end stays as it is."""
    answer = cut_at_fence(answer)
    if problem.language != "python":
        end = _closing(answer, 0, problem.language)
        return answer[:end] if problem.tests.lstrip().startswith("}") else answer[: end + 1]
    if not problem.prompt.rstrip().rpartition("\n")[2].startswith((" ", "\t")):
        return answer  # the prompt ends outside of a function
    after = _OUTSIDE.search(answer)
    return answer[: after.start()] if after else answer


def first_block(text: str) -> str:
    """The content of the first code block, or the whole text if it has none."""
    block = _BLOCK.search(text)
    return block[1] if block else text


def completion_of(problem: Problem, program: str) -> str:
    """A whole program as a completion of the problem's prompt.

    In Python it simply follows, and its function replaces the prompt's. In the languages with braces the
    prompt ends within the function: the completion is the body of the program's function of that name
    and, in Java, what else its class declares, without ``main``, in C++, the ``using`` before it. A program
    that does not define the function is returned as it is, and will not compile.
    """
    if problem.language == "python":
        return f"    pass\n\n{program}"
    signature = problem.prompt.rstrip().rpartition("\n")[2]
    name = re.search(r"(\w+)\s*\(", signature)
    found = name and re.search(rf"\b{name[1]}\s*\([^;{{]*\)[^;{{}}()]*{{", program)
    if not found:
        return program
    end = _closing(program, found.end(), problem.language)
    body = program[found.end() : end]
    if problem.language == "cpp":
        body = "".join(f"\n    {of}" for of in _USING.findall(program[: found.start()])) + body
    if problem.language == "java":
        others = _other_members(program, found.start(), end)
        # The tests begin with the brace that ends the last method.
        return f"{body}}}\n{others}\nstatic void last() {{\n" if others else body
    return body if problem.tests.lstrip().startswith("}") else f"{body}}}\n"


def _chat_prompt(problem: Problem, protocol: str, tokenizer: Any) -> str:
    system, request = _TURNS[protocol]
    published = protocol == "chat-published"
    language = problem.language
    content = request.format(
        name=LANGUAGES[language].title,
        language=_PUBLISHED_NAMES.get(language, language) if published else language,
        prompt=problem.prompt.strip() if published else problem.prompt.rstrip(),
    )
    turns = [{"role": "user", "content": content}]
    if system:
        turns.insert(0, {"role": "system", "content": system})
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def _other_members(program: str, method: int, end: int) -> str:
    """What a Java class declares beside the method that lies there, but for ``main``."""
    head = re.search(r"\bclass\s+\w+[^{]*{", program[:method])
    if head is None:
        return ""
    before = program[head.end() : method]
    before = before[: max(before.rfind("}"), before.rfind(";")) + 1]
    after = program[end + 1 : _closing(program, head.end(), "java")]
    return _without_main(before + after).strip()


def _without_main(members: str) -> str:
    main = re.search(r"(?:public\s+)?static\s+void\s+main\s*\([^)]*\)[^{]*{", members)
    if main is None:
        return members
    return members[: main.start()] + members[_closing(members, main.end(), "java") + 1 :]


# Comments and literals, in which braces mean nothing.
_SKIPPED = r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|[{}]"
# What a language has of its own, by which a quote is read otherwise: raw strings; the quotes within numbers
# of C++; of Rust's single quotes those before a name alone, which begin a lifetime.
_OWN = {
    "cpp": r"\b(?:u8|[uUL])?R\"(?P<mark>[^()\\\s]*)\(.*?\)(?P=mark)\"|\b\d(?:'?\w)*|",
    "rust": r"\br(?P<mark>#*)\".*?\"(?P=mark)|'(?!(?:\\.[^'\n]*|[^'\\\n])')|",
}


def _closing(text: str, start: int, language: str) -> int:
    """Where the brace closes that was opened before ``start``; the end of a text that leaves it open."""
    depth = 1
    for token in re.compile(_OWN.get(language, "") + _SKIPPED, re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.start()
    return len(text)
