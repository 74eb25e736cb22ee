"""Floor 6: one network learned by clients that keep their data; engines are thin, the core knows none of them.

A round: `server.Server` says who is asked and what is sent (`schedule`, `messages.Order`); a `client.Client` learns
from its share and writes a message by the recipe's codec; the server checks what comes, adds it up by the recipe's
aggregator, and measures. `local` is the engine of one process. No learner is known here by name.
"""
