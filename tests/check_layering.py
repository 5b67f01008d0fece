#!/usr/bin/env python3
"""Holds every #include to tests/layering.txt: rooms, third-party headers, no missing header, no cycle.

  check_layering.py [ROOT]     ROOT is a checkout, by default the one this file is in
"""
import re
import sys
from pathlib import Path

FOLDERS = ["include", "lib", "passes", "cost_model", "tools", "tests", "bench"]
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.M)
INCLUDE_TD = re.compile(r'^\s*include\s+"([^"]+)"()', re.M)


class Rules:
    def __init__(self, text):
        self.parties = {}  # name -> beginnings
        self.rooms = {}  # name -> (paths, rooms, parties)
        for number, line in enumerate(text.splitlines(), 1):
            kind, _, rest = line.split("#")[0].strip().partition(" ")
            if kind == "party":
                name, *beginnings = rest.split()
                self.parties[name] = beginnings
            elif kind == "room" and rest.count("|") == 3:
                name, *columns = [column.split() for column in rest.split("|")]
                self.rooms[name[0]] = [[word for word in column if word != "-"] for column in columns]
            elif kind:
                sys.exit(f"layering.txt:{number}: expected `party NAME BEGINNING...` or `room NAME | PATHS | ROOMS | PARTIES`")
        for name, (_, rooms, parties) in self.rooms.items():
            for unknown in (set(rooms) - set(self.rooms)) | (set(parties) - set(self.parties)):
                sys.exit(f"layering.txt: room {name} names {unknown}, which is not there")

    def room_of(self, path):
        best, length = None, 0
        for name, (paths, _, _) in self.rooms.items():
            for prefix in paths:
                if (path == prefix or path.startswith(prefix + "/")) and len(prefix) > length:
                    best, length = name, len(prefix)
        return best

    def party_of(self, header):
        for name, beginnings in self.parties.items():
            if any(header == b or (b.endswith("/") and header.startswith(b)) for b in beginnings):
                return name
        return None


def find_cycle(graph):
    """The first cycle of {node: [(next, ...)]} as a list that ends where it begins, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        path.append(node)
        for following in graph.get(node, []):
            if cycle := visit(following):
                return cycle
        path.pop()
        done.add(node)
        return None

    for node in sorted(graph):
        if cycle := visit(node):
            return cycle
    return None


def is_standard(header):
    # <vector>, <cstdint>; C's and POSIX's own headers have a C++ name or a room that needs them can say so.
    return re.fullmatch(r"[a-z_0-9]+", header) is not None


def check(root):
    """Every violation as `file:line: what is wrong`."""
    rules = Rules((root / "tests/layering.txt").read_text())
    problems = []
    if cycle := find_cycle({name: rooms for name, (_, rooms, _) in rules.rooms.items()}):
        problems.append("tests/layering.txt: rooms in a circle: " + " -> ".join(cycle))

    graph = {}
    files = [f for folder in FOLDERS for pattern in ("*.h", "*.cpp", "*.td") for f in (root / folder).rglob(pattern)]
    for file in sorted(files):
        path = file.relative_to(root).as_posix()
        # The consumer is a project of its own, which uses moai from outside.
        if path.startswith("tests/consumer/"):
            continue
        room = rules.room_of(path)
        if not room:
            problems.append(f"{path}:1: in no room of tests/layering.txt")
            continue
        _, allowed, parties = rules.rooms[room]
        text = file.read_text()
        graph[path] = []
        for match in (INCLUDE_TD if path.endswith(".td") else INCLUDE).finditer(text):
            header = match[1] or match[2]
            where = f"{path}:{text.count(chr(10), 0, match.start(1) if match[1] else match.start(2)) + 1}"
            generated = header.endswith(".inc")
            if header.startswith("moai/"):
                target = "include/" + header
                target_room = rules.room_of(target)
                if target_room != room and target_room not in allowed:
                    problems.append(f"{where}: {room} must not include {target_room or 'a room that is not there'} ({header})")
                elif (root / target).is_file():
                    graph[path].append(target)
                elif not generated:
                    problems.append(f"{where}: there is no {target}")
                continue
            # A private header lies beside its user, or in another folder of its room and is named from the room's own.
            private = next((p for p in (file.parent / header, file.parent.parent / header) if match[1] and p.is_file()), None)
            if private:
                if ".." in header:
                    problems.append(f"{where}: {header} is private to another folder")
                else:
                    neighbour = private.relative_to(root).as_posix()
                    neighbour_room = rules.room_of(neighbour)
                    if neighbour_room != room and neighbour_room not in allowed:
                        problems.append(f"{where}: {room} must not include {neighbour_room} ({header})")
                    graph[path].append(neighbour)
                continue
            if (match[1] and generated and "/" not in header) or (not match[1] and is_standard(header)):
                continue
            party = rules.party_of(header)
            if not party:
                problems.append(f"{where}: {header} is neither a file nor third party known to tests/layering.txt")
            elif party not in parties:
                problems.append(f"{where}: {room} must not include {party} ({header})")

    if cycle := find_cycle(graph):
        problems.append(f"{cycle[0]}:1: includes itself: " + " -> ".join(cycle))
    return problems


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    problems = check(root)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
