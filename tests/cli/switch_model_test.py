#!/usr/bin/env python3
"""Choosing an accelerator: with a terminal, through a pipe, as an argument, by eight processes at once; choices that can't be made or kept."""
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import time
import unittest

from accelerators import FLAVORS, UserTestCase
from tools import BIN

PROMPT = "Selection (1-13, q, Q): "


def listing(chosen):
    return "".join(f"{i}. {name}{'  *' if name == chosen else ''}\n" for i, name in enumerate(FLAVORS, 1)) + "\n"


def switched(name):
    return f'The MoAI Accelerator model is successfully switched to  "{name}".\n'


class Terminal:
    """The tool on a pseudo-terminal, as a person sees it."""

    def __init__(self, environment):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(BIN / "moai-switch-model", ["moai-switch-model"], environment)
        self.seen = ""

    def read_until(self, text):
        """What was printed since the last call, up to and with the text."""
        end = time.monotonic() + 20
        while text not in self.seen:
            if not select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"{text!r} is not in {self.seen!r}")
            self.seen += os.read(self.terminal, 65536).decode().replace("\r\n", "\n")
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def type(self, text):
        os.write(self.terminal, text.encode())

    def finish(self):
        """(what was printed since, exit code)"""
        try:
            while data := os.read(self.terminal, 65536):
                self.seen += data.decode().replace("\r\n", "\n")
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(self.terminal)
        return self.seen, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class OnATerminal(UserTestCase):
    def setUp(self):
        super().setUp()
        self.environment["NO_COLOR"] = "1"

    def test_good_bad_and_empty_selections(self):
        terminal = Terminal(self.environment)
        self.assertEqual(terminal.read_until(PROMPT), "Current MoAI Accelerator: xLarge.512GB\n\n" + listing("xLarge.512GB") + PROMPT)
        for typed, answer in [("14", '"14" is no selection: expected a number from 1 to 13, or q to quit.\n'),
                              ("0", '"0" is no selection: expected a number from 1 to 13, or q to quit.\n'),
                              ("8x", '"8x" is no selection: expected a number from 1 to 13, or q to quit.\n'),
                              ("", "Nothing was selected: expected a number from 1 to 13, or q to quit.\n"),
                              (" 8 ", switched("4xLarge.2048GB") + "\n" + listing("4xLarge.2048GB")),
                              ("1", switched("Small.64GB") + "\n" + listing("Small.64GB"))]:
            terminal.type(typed + "\n")
            self.assertEqual(terminal.read_until(PROMPT), typed + "\n" + answer + PROMPT)
        terminal.type("Q\n")
        self.assertEqual(terminal.finish(), ("Q\n", 0))
        self.assertEqual(json.loads(self.choice.read_text()), {"version": 1, "accelerator": "Small.64GB"})

    def test_end_of_input(self):
        terminal = Terminal(self.environment)
        terminal.read_until(PROMPT)
        terminal.type("\x04")
        self.assertEqual(terminal.finish(), ("\n", 0))

    def test_interrupt(self):
        terminal = Terminal(self.environment)
        terminal.read_until(PROMPT)
        terminal.type("3\n")
        terminal.read_until(PROMPT)
        terminal.type("\x03")
        self.assertEqual(terminal.finish()[1], 130)
        self.assertEqual(json.loads(self.choice.read_text())["accelerator"], "Large.256GB")
        self.assertEqual(list(self.choice.parent.iterdir()), [self.choice])

    def test_colours_only_where_they_are_wanted(self):
        for variables, colored in [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]:
            environment = {key: value for key, value in self.environment.items() if key != "NO_COLOR"} | variables
            terminal = Terminal(environment)
            self.assertEqual("\033[1m4. xLarge.512GB  *\033[0m" in terminal.read_until(PROMPT), colored, variables)
            terminal.type("q\n")
            terminal.finish()
        self.assertNotIn("\033", self.switch("--list")[1])


class ThroughAPipe(UserTestCase):
    def test_a_session(self):
        code, printed, errors = self.switch(typed="x\n8\nq\n")
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(printed, "Current MoAI Accelerator: xLarge.512GB\n\n" + listing("xLarge.512GB") + PROMPT
                         + '"x" is no selection: expected a number from 1 to 13, or q to quit.\n' + PROMPT
                         + switched("4xLarge.2048GB") + "\n" + listing("4xLarge.2048GB") + PROMPT)

    def test_the_last_line_may_have_no_end(self):
        self.assertEqual(self.switch(typed="2")[0], 0)
        self.assertIn("Current MoAI Accelerator: Medium.128GB\n", self.switch("--list")[1])

    def test_standard_output_that_is_full(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([BIN / "moai-switch-model", "--list"], stdout=full, stderr=subprocess.PIPE, text=True, env=self.environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn("moai-switch-model: error: standard output can't be written", done.stderr)


class AsAnArgument(UserTestCase):
    def test_names_numbers_devices_and_files(self):
        device = self.folder / "mine.json"
        device.write_text('{"base": "h100", "name": "Mine", "count": 4}')
        for given, name in [("4xLarge.2048GB", "4xLarge.2048GB"), ("4xlarge", "4xLarge.2048GB"), ("SMALL.64gb", "Small.64GB"), ("13", "48xLarge.24576GB"),
                            ("mi300x:8", "MI300X:8"), ("h100:64", "H100-SXM:64"), ("./mine.json", str(device))]:
            self.assertEqual(self.switch(given, cwd=self.folder), (0, switched(name), ""), given)
            self.assertEqual(json.loads(self.choice.read_text()), {"version": 1, "accelerator": name})
            code, printed, errors = self.switch("--list")
            self.assertEqual((code, errors), (0, ""))
            self.assertEqual(printed, f"Current MoAI Accelerator: {name}\n\n" + listing(name))

    def test_what_is_no_accelerator(self):
        self.switch("2")
        for given, words in [("5xlarge", ("'5xlarge'", "did you mean", "xLarge")), ("14", ("no flavor 14", "from 1 to 13")), ("0", ("no flavor 0",)),
                             ("h100:0", ("device count '0'",)), ("", ("unknown accelerator",)), ("missing.json", ("missing.json", "No such file"))]:
            code, printed, errors = self.switch(given)
            self.assertEqual((code, printed, errors.count("\n")), (1, "", 1), given)
            self.assertTrue(errors.startswith("moai-switch-model: error: "), errors)
            for word in words:
                self.assertIn(word, errors)
        self.assertIn("Current MoAI Accelerator: Medium.128GB\n", self.switch("--list")[1])
        code, printed, errors = self.switch("1", "2")
        self.assertEqual((code, printed, errors.count("\n")), (2, "", 1))

    def test_json(self):
        code, printed, errors = self.switch("h100:64", "--json")
        self.assertEqual((code, errors), (0, ""))
        chosen = json.loads(printed)
        self.assertEqual((chosen["current"], chosen["chosen"], chosen["from_environment"]), ("H100-SXM:64", "H100-SXM:64", False))
        self.assertEqual([flavor["name"] for flavor in chosen["flavors"]], FLAVORS)
        self.assertEqual([flavor["number"] for flavor in chosen["flavors"]], list(range(1, 14)))
        self.assertEqual(chosen["flavors"][7], {"number": 8, "name": "4xLarge.2048GB", "num_devices": 32, "num_nodes": 4, "bytes": 2096640 << 20,
                                                "chosen": False})

    def test_the_environment_goes_first(self):
        code, printed, errors = self.switch(typed="8\n", MOAI_ACCELERATOR="small")
        self.assertEqual((code, errors), (0, ""))
        line = "MOAI_ACCELERATOR=small is set, which scripts use whatever is chosen here.\n"
        self.assertTrue(printed.startswith("Current MoAI Accelerator: Small.64GB\n" + line + "\n1. Small.64GB\n"), printed)
        self.assertIn(switched("4xLarge.2048GB") + line, printed)
        self.assertIn("8. 4xLarge.2048GB  *\n", printed)
        code, printed, errors = self.switch("--list", MOAI_ACCELERATOR="huge")
        self.assertEqual((code, printed, errors.count("\n")), (1, "", 1))
        self.assertIn("MOAI_ACCELERATOR: unknown accelerator 'huge'", errors)

    def test_not_while_a_job_runs(self):
        process, job = self.start_job([{}], command="moai-run gpt2.pt2 --steps=40", accelerator="xLarge.512GB")
        code, printed, errors = self.switch("2")
        self.assertEqual((code, printed), (1, ""))
        self.assertEqual(errors, f"moai-switch-model: error: job {job} (moai-run gpt2.pt2 --steps=40) is running on xLarge.512GB, so the accelerator "
                                 "can't be switched; wait for it, or stop it with moai-smi -r\n")
        self.assertFalse(self.choice.exists())
        code, printed, errors = self.switch(typed="2\nq\n")
        self.assertEqual((code, errors), (0, ""))
        self.assertIn(f"Not switched: job {job} (moai-run gpt2.pt2 --steps=40) is running", printed)
        process.terminate()
        process.wait()
        self.assertEqual(self.switch("2")[0], 0)

    def test_a_job_that_was_killed_hinders_nobody_and_is_still_told_by_smi(self):
        process, job = self.start_job([{}])
        process.kill()
        process.wait()
        self.assertEqual(self.switch("2")[0], 0)
        self.assertIn(f"Job {job} ", self.smi()[1])


class Files(UserTestCase):
    def test_eight_at_once_leave_a_whole_file(self):
        for round in range(5):
            crowd = [subprocess.Popen([BIN / "moai-switch-model", str(1 + (round * 8 + k) % 13)], env=self.environment, stdout=subprocess.DEVNULL)
                     for k in range(8)]
            self.assertEqual([process.wait(timeout=60) for process in crowd], [0] * 8)
            self.assertIn(json.loads(self.choice.read_text())["accelerator"], FLAVORS)
            self.assertEqual(list(self.choice.parent.iterdir()), [self.choice])

    def test_files_that_are_no_choice(self):
        self.switch("8")
        whole = self.choice.read_text()
        for text, word in [("", "is no choice of an accelerator"), (whole[: len(whole) // 2], "is no choice of an accelerator"),
                           ("[1]", "names no version"), ('{"version": 1}', "names no accelerator"), ("\0" * 50, "is no choice of an accelerator"),
                           (whole.replace("1", "2", 1), "is of version 2, and this moai reads version 1"),
                           (whole.replace("4xLarge.2048GB", "5xLarge"), "unknown accelerator '5xLarge'")]:
            self.choice.write_text(text)
            for tool in ("moai-smi", "moai-switch-model"):
                code, printed, errors = self.run_tool(tool)
                self.assertEqual((code, printed, errors.count("\n")), (1, "", 1), text)
                self.assertIn(str(self.choice), errors)
                self.assertIn(word, errors)
                self.assertIn("moai-switch-model NAME", errors)
            self.assertIn("Small.64GB", self.smi(MOAI_ACCELERATOR="Small.64GB")[1])
            self.assertEqual(self.switch("8")[0], 0, text)  # what the sentence says helps
            self.assertEqual(self.choice.read_text(), whole)

    def test_a_folder_that_cannot_be_written(self):
        self.config.write_text("")
        code, printed, errors = self.switch("8")
        self.assertEqual((code, printed, errors.count("\n")), (1, "", 1))
        self.assertIn("the choice can't be kept: ", errors)
        self.assertIn(str(self.config), errors)
        code, printed, errors = self.switch(typed="8\n9\n")
        self.assertEqual((code, errors.count("\n")), (1, 1))
        self.assertIn("Current MoAI Accelerator: xLarge.512GB\n", printed)

    def test_a_home_that_is_missing(self):
        for home in ("/dev/null", "/proc/nobody"):
            self.environment = {key: value for key, value in self.environment.items() if not key.startswith("XDG_")} | {"HOME": home}
            self.assertIn("  * 0     |   MoAI Accelerator  |  xLarge.512GB  |", self.smi()[1])
            code, printed, errors = self.switch("8")
            self.assertEqual((code, printed, errors.count("\n")), (1, "", 1), home)
            self.assertIn(home, errors)

    @unittest.skipUnless(os.getuid() == 0, "only root can become a user whom the system doesn't know")
    def test_a_user_whom_the_system_does_not_know(self):
        tools = self.folder / "tools"
        tools.mkdir()
        self.folder.chmod(0o755)
        environment = {key: value for key, value in self.environment.items() if not key.startswith("XDG_") and key != "HOME"}
        for tool, arguments, expected in [("moai-switch-model", ["8"], "there is no home folder for the chosen accelerator; set HOME or XDG_CONFIG_HOME"),
                                          ("moai-smi", [], "xLarge.512GB")]:
            copy = shutil.copy(BIN / tool, tools)
            done = subprocess.run([copy, *arguments], env=environment, user=54321, group=54321, extra_groups=[], capture_output=True, text=True, cwd="/")
            self.assertIn(expected, done.stdout + done.stderr)

    def test_relative_folders_are_ignored(self):
        self.assertEqual(self.switch("8", XDG_CONFIG_HOME="relative")[0], 0)
        self.assertTrue((self.folder / ".config/moai/accelerator.json").exists())


if __name__ == "__main__":
    unittest.main()
