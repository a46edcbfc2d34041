"""What an adapter did to the languages that it was not trained on: from a folder to tables and a report.

:func:`audit` makes the runs that are missing and computes the tables, :func:`write` makes a report of them.
An audited adapter is a run whose training is done already. Of the modules, ``subject`` knows which adapter,
base and languages, ``runs`` where the answers come from, ``plan`` how many problems fit a time; ``changes``,
``form`` and ``weights`` compute what became of the programs and of the model, ``tables`` puts all together,
and ``report`` says it.
"""

from flexlib.auditing.report import summary, to_html, to_json, write
from flexlib.auditing.tables import Audit, audit

__all__ = ["Audit", "audit", "summary", "to_html", "to_json", "write"]
