#!/usr/bin/env python3
"""check_layering.py finds each kind of violation, and nothing in a tree without any."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import check_layering

RULES = """
party absl  absl/
party mlir  mlir/
party zip   zip.h
room Plan  | include/moai/Plan lib/Plan | - | absl
room IR    | include/moai/IR lib/IR | Plan | mlir
room Cost  | include/moai/Cost cost_model | Plan | absl
room Graph | include/moai/Cost/Graph.h cost_model/Graph.cpp | Plan IR Cost | mlir
room Import | include/moai/Import lib/Import | IR | zip
"""
GOOD = {
    "include/moai/Plan/Dim.h": "#include <vector>\n",
    "include/moai/IR/Moai.h": '#include "mlir/IR/Dialect.h"\n#include "moai/Plan/Dim.h"\n#include "moai/IR/Ops.h.inc"\n',
    "include/moai/IR/Ops.td": 'include "mlir/IR/OpBase.td"\ninclude "moai/IR/Types.td"\n',
    "include/moai/IR/Types.td": "",
    "include/moai/Cost/Kernel.h": '#include "moai/Plan/Dim.h"\n',
    "include/moai/Cost/Graph.h": '#include "moai/IR/Moai.h"\n#include "moai/Cost/Kernel.h"\n',
    "lib/Plan/Dim.cpp": '#include "moai/Plan/Dim.h"\n  #  include "absl/status/status.h"\n#include "Private.h"\n',
    "lib/Plan/Private.h": "",
    "cost_model/Kernel.cpp": '#include "moai/Cost/Kernel.h"\n#include "Data.inc"\n',
    "cost_model/Graph.cpp": '#include "moai/Cost/Graph.h"\n#include "mlir/IR/Value.h"\n',
    "lib/Import/Archive.cpp": '#include <zip.h>\n#include <string>\n',
}


class CheckLayering(unittest.TestCase):
    def problems(self, changes, rules=RULES):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in {**GOOD, "tests/layering.txt": rules, **changes}.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            return check_layering.check(root)

    def test_clean_tree(self):
        self.assertEqual(self.problems({}), [])

    def test_room_that_is_not_allowed(self):
        self.assertEqual(self.problems({"include/moai/Plan/Bad.h": '\n#include "moai/IR/Moai.h"\n'}),
                         ["include/moai/Plan/Bad.h:2: Plan must not include IR (moai/IR/Moai.h)"])

    def test_room_that_is_not_allowed_in_angle_brackets(self):
        self.assertEqual(self.problems({"lib/Plan/Bad.cpp": "#include <moai/IR/Moai.h>\n"}),
                         ["lib/Plan/Bad.cpp:1: Plan must not include IR (moai/IR/Moai.h)"])

    def test_generated_header_of_another_room(self):
        self.assertEqual(self.problems({"lib/Plan/Bad.cpp": '#include "moai/IR/Ops.h.inc"\n'}),
                         ["lib/Plan/Bad.cpp:1: Plan must not include IR (moai/IR/Ops.h.inc)"])

    def test_special_file_of_a_room(self):
        self.assertEqual(self.problems({"cost_model/Kernel.cpp": '#include "moai/Cost/Graph.h"\n'}),
                         ["cost_model/Kernel.cpp:1: Cost must not include Graph (moai/Cost/Graph.h)"])

    def test_private_header_of_a_special_file(self):
        rules = RULES.replace("cost_model/Graph.cpp", "cost_model/Graph.cpp cost_model/GraphPrivate.h")
        self.assertEqual(self.problems({"cost_model/GraphPrivate.h": "", "cost_model/Kernel.cpp": '#include "GraphPrivate.h"\n'}, rules),
                         ["cost_model/Kernel.cpp:1: Cost must not include Graph (GraphPrivate.h)"])

    def test_tablegen(self):
        self.assertEqual(self.problems({"include/moai/Plan/Bad.td": 'include "moai/IR/Types.td"\n'}),
                         ["include/moai/Plan/Bad.td:1: Plan must not include IR (moai/IR/Types.td)"])

    def test_third_party_that_is_not_allowed(self):
        self.assertEqual(self.problems({"lib/Plan/Bad.cpp": '#include "mlir/IR/Value.h"\n'}),
                         ["lib/Plan/Bad.cpp:1: Plan must not include mlir (mlir/IR/Value.h)"])
        self.assertEqual(self.problems({"lib/IR/Bad.cpp": "#include <zip.h>\n"}), ["lib/IR/Bad.cpp:1: IR must not include zip (zip.h)"])

    def test_unknown_third_party(self):
        for line, header in (("#include <boost/any.hpp>", "boost/any.hpp"), ('#include "zip.hpp"', "zip.hpp"), ("#include <unistd.h>", "unistd.h")):
            self.assertEqual(self.problems({"lib/Import/Bad.cpp": line + "\n"}),
                             [f"lib/Import/Bad.cpp:1: {header} is neither a file nor third party known to tests/layering.txt"])

    def test_missing_header(self):
        self.assertEqual(self.problems({"lib/Plan/Bad.cpp": '#include "moai/Plan/Gone.h"\n'}),
                         ["lib/Plan/Bad.cpp:1: there is no include/moai/Plan/Gone.h"])

    def test_missing_private_header(self):
        self.assertEqual(self.problems({"lib/IR/Bad.cpp": '#include "Private.h"\n'}),
                         ["lib/IR/Bad.cpp:1: Private.h is neither a file nor third party known to tests/layering.txt"])

    def test_private_header_of_another_folder(self):
        self.assertEqual(self.problems({"lib/IR/Bad.cpp": '#include "../Plan/Private.h"\n'}),
                         ["lib/IR/Bad.cpp:1: ../Plan/Private.h is private to another folder"])

    def test_private_header_named_from_its_room(self):
        self.assertEqual(self.problems({"lib/IR/Parts/Private.h": "", "lib/IR/Other/Good.cpp": '#include "Parts/Private.h"\n'}), [])

    def test_cycle_of_headers(self):
        self.assertEqual(self.problems({"include/moai/Plan/A.h": '#include "moai/Plan/B.h"\n',
                                        "include/moai/Plan/B.h": '#include "moai/Plan/C.h"\n',
                                        "include/moai/Plan/C.h": '#include "moai/Plan/A.h"\n'}),
                         ["include/moai/Plan/A.h:1: includes itself: include/moai/Plan/A.h -> include/moai/Plan/B.h -> "
                          "include/moai/Plan/C.h -> include/moai/Plan/A.h"])

    def test_cycle_of_private_headers(self):
        self.assertEqual(self.problems({"lib/Plan/Private.h": '#include "Other.h"\n', "lib/Plan/Other.h": '#include "Private.h"\n'}),
                         ["lib/Plan/Private.h:1: includes itself: lib/Plan/Private.h -> lib/Plan/Other.h -> lib/Plan/Private.h"])

    def test_cycle_of_rooms(self):
        self.assertEqual(self.problems({}, RULES.replace("lib/Plan | -", "lib/Plan | Graph")),
                         ["tests/layering.txt: rooms in a circle: Plan -> Graph -> Plan"])

    def test_file_in_no_room(self):
        self.assertEqual(self.problems({"lib/New/File.cpp": ""}), ["lib/New/File.cpp:1: in no room of tests/layering.txt"])


if __name__ == "__main__":
    unittest.main()
