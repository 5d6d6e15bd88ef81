"""Installed metadata as no installer should leave it, and yet some do: each kind by its name."""

import os

HEADERS, LINES = "Metadata-Version: 2.1\nName: ditbench-odd\nVersion: 0.1\n", "[ditbench]\nodd = odd\n"
GOOD = {"METADATA": HEADERS, "entry_points.txt": LINES}
OLD = {"PKG-INFO": HEADERS, "entry_points.txt": LINES}
FOLDER, LOOP, NOWHERE, PIPE = "a folder", "a link to itself", "a link to nothing", "a pipe"
BINARY, NOT_UTF_8 = b"\x00\x01\xff\xfe" * 64, "Name: dé".encode("latin-1")


def with_file(file, content):
    return ("ditbench_odd-0.1.dist-info", {**GOOD, file: content})


def with_field(name, line):
    text = HEADERS.splitlines()
    kept = [each for each in text if not each.startswith(f"{name}:")]
    return with_file("METADATA", "\n".join([*kept, *([line] if line else [])]) + "\n")


def with_line(line):
    return with_file("entry_points.txt", f"[ditbench]\n{line}\n")


def asking(requirement):
    return with_file("METADATA", HEADERS + f"Requires-Dist: {requirement}\n")


LEFT_OUT = {  # no plugin of it is loaded, and it is named
    **{f"METADATA is {what}": with_file("METADATA", what) for what in (FOLDER, LOOP, NOWHERE, PIPE)},
    **{f"entry_points.txt is {what}": with_file("entry_points.txt", what) for what in (LOOP, PIPE)},
    "METADATA is missing": with_file("METADATA", None),
    "METADATA is empty": with_file("METADATA", ""),
    "METADATA is binary": with_file("METADATA", BINARY),
    "METADATA is UTF-16": with_file("METADATA", HEADERS.encode("utf-16")),
    "METADATA is not UTF-8": with_file("METADATA", NOT_UTF_8),
    "METADATA is cut off": with_file("METADATA", "Metadata-Version: 2.1\nNa"),
    "METADATA is prose": with_file("METADATA", "this is not\nthe file you seek\n"),
    "METADATA is NULs": with_file("METADATA", "\0" * 512),
    "entry_points.txt is binary": with_file("entry_points.txt", BINARY),
    "entry_points.txt is not UTF-8": with_file("entry_points.txt", b"[ditbench]\nodd = odd\xff\n"),
    "no name": with_field("Name", ""),
    "an empty name": with_field("Name", "Name:"),
    "a name that is a path": with_field("Name", "Name: ../../up"),
    "a name with escape codes": with_field("Name", "Name: \x1b[31mred"),
    "a name of two lines": with_field("Name", "Name: ditbench-odd\n  and more"),
    "no version": with_field("Version", ""),
    "an empty version": with_field("Version", "Version: "),
    "a version of words": with_field("Version", "Version: the newest one"),
    "a version without end": with_field("Version", "Version: " + "1." * 5000),
    "a version with escape codes": with_field("Version", "Version: 1\x1b]0;title\x07"),
    "an entry point without a module": with_line("odd ="),
    "an entry point without a name": with_line("= odd"),
    "an entry point without =": with_line("odd"),
    "an entry point of no identifiers": with_line("odd = o-d-d:x"),
    "an entry point of a path": with_line("odd = ../odd.py"),
    "an entry point with a bracket that stays open": with_line("odd = odd:x [extra"),
    "an entry point that starts with a dot": with_line("odd = .odd"),
    "an entry point with escape codes": with_line("\x1b[2Jodd = odd"),
    "an entry point of a module that is not there": with_line("odd = no_such_module"),
    "an entry point of a name that is not there": with_line("odd = odd:nothing"),
    "a requirement of a later ditbench": asking("ditbench>=99"),
}
NO_PLUGIN = {  # nothing is missing by it; the doctor names it
    "an empty folder": ("ditbench_odd-0.1.dist-info", {}),
    "a file in place of the folder": ("ditbench_odd-0.1.dist-info", "[ditbench]\nodd = odd\n"),
    "an empty file": ("ditbench_odd-0.1.dist-info", ""),
    "a leftover of pip": ("~itbench_odd-0.1.dist-info", GOOD),
    "a leftover of pip that is empty": ("~itbench_odd-0.1.dist-info", {}),
    "entry_points.txt is missing, and METADATA": ("ditbench_odd-0.1.dist-info", {"RECORD": ""}),
    "a folder without a name": (".dist-info", {}),
    "a folder with a version alone": ("-0.1.dist-info", {}),
    "an egg-info that is empty": ("ditbench_odd.egg-info", {}),
    "an egg-info that is a file of nothing": ("ditbench_odd-0.1-py3.11.egg-info", ""),
    "an entry point of another group without =": (
        "odd-0.1.dist-info",
        {"entry_points.txt": "[console_scripts]\nodd\n"},
    ),
    "entry points before any group": ("odd-0.1.dist-info", {"entry_points.txt": "odd = odd\n[ditbench\n"}),
}
LOADED = {  # the plugin works
    "entry_points.txt has CRLF and a comment": with_file("entry_points.txt", "# c\r\n[ditbench]\r\nodd = odd\r\n"),
    "another group of the file is odd": with_file("entry_points.txt", "[ditbench]\nodd = odd\n[other]\nodd\n"),
    "an egg-info": ("ditbench_odd.egg-info", OLD),
    "RECORD is binary": with_file("RECORD", BINARY),
    "METADATA has CRLF": with_file("METADATA", HEADERS.replace("\n", "\r\n")),
}
NOTED = {  # the plugin works, and the doctor tells what of it can't be read
    **{
        f"direct_url.json is {what}": with_file("direct_url.json", content)
        for what, content in {
            "cut off": '{"url": "file:///x", "dir_in',
            "a list": "[]",
            "a number": "3",
            "binary": BINARY,
            "of wrong types": '{"url": 3, "dir_info": {"editable": true}}',
            "without a URL": '{"dir_info": {"editable": true}}',
            "deep": "[" * 100_000,
            "a loop": LOOP,
            "a pipe": PIPE,
        }.items()
    },
    "a requirement of no form": asking("numpy >=>= 1"),
    "a requirement of nothing": asking(""),
    "a requirement with an odd marker": asking("numpy; no_such == 'x'"),
    "a requirement with a comparison that can't be": asking("numpy; python_version ~= 'x'"),
    "a requirement of no version": asking("numpy==one"),
    "a requirement with escape codes": asking("\x1b[31mnumpy"),
    "requires.txt is binary": ("ditbench_odd.egg-info", {**OLD, "requires.txt": BINARY}),
}
KINDS = {**LEFT_OUT, **NO_PLUGIN, **LOADED, **NOTED}


def lay(site, kind, number=""):
    """Put one of the kinds into a folder of modules, with a number in all of its names; the path of it."""
    name, content = KINDS[kind]
    place = site / name.replace("odd", f"odd{number}")
    if not isinstance(content, dict):
        put(place, content)
        return place
    place.mkdir()
    for file, text in content.items():
        put(place / file, text.replace("odd", f"odd{number}") if isinstance(text, str) else text)
    return place


def put(path, content):
    if content in (LOOP, NOWHERE):
        path.symlink_to(path if content == LOOP else "no such file")
    elif content == FOLDER:
        path.mkdir()
    elif content == PIPE:
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
