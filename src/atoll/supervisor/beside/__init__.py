"""What is laid beside a Python service: it runs inside the service's process and knows nothing of atoll.

Copied by `supervisor.bundle` to a folder of its own under the name `atoll_beside`; nothing in atoll imports it. Promises:
the app's packages win, the app's output does not change, an error of ours never reaches the app, memory is bounded.
"""
