"""What a hostile program is, and the verdicts that are right for some."""

from __future__ import annotations

from dataclasses import dataclass, field

from flexlib.grading.programs import Program

PASS = ("pass",)
FAIL = ("wrong", "runtime_error", "compile_error")
EARLY = ("runtime_error", "compile_error")
LIMIT = ("timeout", "output_limit", "out_of_memory", "runtime_error")

WORD = "0123456789abcdef0123456789abcdef"  # as long as the secret one


@dataclass(frozen=True)
class Case:
    """One program: what it tries, and the verdicts that are right for it."""

    name: str
    group: str
    program: Program
    allowed: tuple[str, ...]

    @property
    def language(self) -> str:
        return self.program.language


@dataclass(frozen=True)
class Suite:
    """The programs in one language, and the problem that they answer unless one brings another."""

    language: str
    prompt: str
    tests: str
    cases: list[Case] = field(default_factory=list)

    def add(
        self,
        group: str,
        allowed: tuple[str, ...],
        problem: tuple[str, str] | None = None,
        /,
        **completions: str,
    ) -> None:
        """Add programs that try the same; ``problem`` is their prompt and tests."""
        prompt, tests = problem or (self.prompt, self.tests)
        for name, completion in completions.items():
            name = name.replace("_", " ")
            program = Program(f"{self.language}: {name}", self.language, prompt, completion, tests)
            self.cases.append(Case(name, group, program, allowed))
