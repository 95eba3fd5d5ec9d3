"""What client and server of statistics say to each other over HTTP.

A table goes up in parts: ``POST /v1/uploads`` gives it a number, ``PUT /v1/uploads/{upload}?offset=K``
appends up to :data:`PART_BYTES`, ``POST /v1/uploads/{upload}/finish`` has it checked and kept. ``POST
/v1/results`` asks for a result, ``GET /v1/results/{result}`` gives it: 202 while it is computed, then its
bytes.
"""

import re

UPLOADS, TABLES, RESULTS = "/v1/uploads", "/v1/tables", "/v1/results"
PART_BYTES = 8 << 20
MOST_MODEL_BYTES = 1 << 20
NUMBER = re.compile(r"[0-9a-f]{32}")
"""Of uploads, tables and results; chosen by the server, so that nobody guesses another's."""
