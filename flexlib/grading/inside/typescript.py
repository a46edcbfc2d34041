"""Grade TypeScript: a warm compiler checks the types of program and tests together; what it makes of each
goes to the judge and the candidate of JavaScript.

This file runs inside the sandbox and imports only the standard library.
"""

import warm

COMPILE_SECONDS = 30.0


class TypeScript(warm.JavaScript):
    def __init__(self, supervisor):
        super().__init__(supervisor)
        self.compiler = warm.Warm(supervisor, "typescript")

    def prepare(self, ahead=1):
        super().prepare(ahead)
        if self.compiler.judge is None:
            self.compiler.start_judge()

    def compile(self, *texts):
        """What the compiler says of program and tests; None if it comes to no end, or ends at them.

        Raises BrokenPipeError if it had ended before.
        """
        self.prepare()
        said = None
        try:
            self.compiler.tell(*texts)
            said = self.compiler.hear(COMPILE_SECONDS)
        finally:
            if said is None:
                self.compiler.stop_judge()
        return said

    def grade(self, job):
        try:
            said = self.compile(job["prompt"] + job["completion"], job["tests"])
        except BrokenPipeError:
            return "harness_error", "the compiler had ended"
        if said is None:
            return "compile_error", "the compiler came to no end"
        if "refused" in said:
            return "compile_error", said["refused"]
        return super().grade(job | said)
