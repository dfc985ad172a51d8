//! Tests that need server and agent in one process, so that one test decides the time of both. They are in `tests/`.
