"""The harness of `make lost-updates`, in parts that each fit a screen or three.

    steps    what a request does to its session, as data, and how an app does it
    apps     the apps that serve it, under gunicorn and uvicorn, with our engines and with others
    meeting  how requests are held until all of a group have loaded their session
    plans    what the requests of one session are, drawn from a seed
    rounds   sends them, as browsers would, and keeps what was answered
    model    replays a session in the order of its versions: what it has to hold in the end
    judge    what was lost and what was revived

tools/lost_updates.py starts servers and apps and runs it all. `model` and `judge` import nothing of
the package: they know its promises (docs/sessions-semantics.md), not its code.
"""
