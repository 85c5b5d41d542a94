"""The commands behind the Makefile.

| module | owns |
|---|---|
| `cli` | the commands and their arguments |
| `plan` | which stages a command runs, and what is left out |
| `stages` | one stage: running, bounding, counting |
| `environments` | virtual environments, and pyloop in them |
| `layout` | folders, tools, dependency groups |
"""
