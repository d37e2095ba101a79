"""The measurement: what a model that the server runs really costs and delivers.

    calibration  how many tokens a prompt has, learned from the model itself
    workload     prompts of an exact length, how many tokens, how often (pure)
    request      the stopwatch around one generation
    run          the schedule of a measurement
    sample       which samples count and which are rejected (pure)
    sampler      peak memory of the runner
    devices      the same on NVIDIA devices
    company      who else used the server meanwhile
    noise        what else the processors were doing
    progress     a sign of life while it runs
    stats        median, spread, interval (pure)
    verdict      measured against promised (pure)
    result       the document that is printed and kept

Nothing is imported here: `stats` and `verdict` belong to the pure core and are imported alone.
The method and its reasons are in docs/bench-method.md.
"""
