"""The measurement: what a model that the server runs really costs and delivers.

    calibration  how many tokens a prompt has, learned from the model itself
    effort       how much may be measured (pure)
    workload     prompts of an exact length, shapes of requests, how often
    sizing       the largest of them that time and context have room for
    pilot        calibrates, and sizes by how fast the model answered
    request      the stopwatch around one generation
    run          the schedule: rounds of samples, then the context filled
    sample       which samples count and which are rejected
    measurement  what a run of samples amounts to
    loads        loads into a new runner; file_cache: where its file was before
    concurrency  several users at once; level: what they got
    thinking     chats of a model that thinks before it answers
    sampler      peak memory of the runner
    devices      the same on NVIDIA devices; nvml and nvml_reader: in a process that may hang
    device_state what a device did during a sample (pure)
    descendants  the processes below a server
    company      who else used the server meanwhile
    noise        what else the processors were doing
    load_log     the part of a server's log that tells of one load (pure)
    buffers      the engine's own buffers, out of it (pure)
    effective    context, slots and cache type that are really in effect
    progress     a sign of life while it runs
    stats        median, spread, interval (pure)
    verdict      measured against promised (pure)
    regression   is it slower than it was (pure); comparison: bench documents by that (pure)
    result       the document that is printed and kept

Nothing is imported here: the pure modules belong to the core and are imported alone.
The method and its reasons are in docs/bench-method.md.
"""
