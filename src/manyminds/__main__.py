"""`python -m manyminds` is the command `manyminds`."""

from manyminds.cli import main

raise SystemExit(main())
