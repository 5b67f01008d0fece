#!/usr/bin/env python3
"""What moai-smi shows of accelerators and jobs: idle, running, several, simulated, killed; as tables, as JSON, again and again; and how it stops them."""
import json
import os
import pty
import re
import signal
import subprocess
import time
import unittest

from accelerators import MIB, UserTestCase
from tools import BIN

TITLE = "Current Version: 0.0.0  Latest Version: 0.0.0"
LONG = "moai-run gpt2.pt2 --data=text.txt --steps=1000 --global-batch=64 --save=trained --log-every=10 --seed=4"


def without_what_changes(text, jobs=()):
    """The output with the time, the version, and the ids of jobs in their order replaced."""
    text = re.sub(r"\A\d\d:\d\d:\d\d (January|February|March|April|May|June|July|August|September|October|November|December) [1-9]\d?, \d{4}\n",
                  "TIME\n", text)
    version = subprocess.run([BIN / "moai-smi", "--version"], capture_output=True, text=True).stdout.split()[1]
    text = re.sub(rf"^\| +Current Version: {re.escape(version)}  Latest Version: {re.escape(version)}  \|$", lambda line: f"|{TITLE:>{len(line[0]) - 4}}  |",
                  text, flags=re.M)
    for k, (process, job) in enumerate(jobs, 1):
        text = text.replace(f"  {job}  |  {process.pid:>7}  |", f"  11111{k}  |  222222{k}  |")
    return text


def devices(count, used, peak=0, nodes=1):
    """Devices of two stages, half of them each."""
    return [{"node": k * nodes // count, "stage": 2 * k // count, "replica": k % max(count // 2, 1), "bytes": used, "peak": peak, "utilization": 0.5}
            for k in range(count)]


class Tables(UserTestCase):
    maxDiff = None

    def show(self, *arguments, jobs=(), **options):
        code, printed, errors = self.smi(*arguments, **options)
        self.assertEqual((code, errors), (0, ""))
        return without_what_changes(printed, jobs)

    def test_idle(self):
        self.assertEqual(self.show(), """\
TIME
+---------------------------------------------------------------------------------------------------+
|                                                    Current Version: 0.0.0  Latest Version: 0.0.0  |
+---------------------------------------------------------------------------------------------------+
|  Device  |        Name         |      Model     |  Memory Usage  |  Total Memory  |  Utilization  |
+===================================================================================================+
|  * 0     |   MoAI Accelerator  |  xLarge.512GB  |  -             |  -             |  -            |
+---------------------------------------------------------------------------------------------------+
""")

    def test_wide_flavors(self):
        self.assertEqual(self.show(MOAI_ACCELERATOR="48xlarge"), """\
TIME
+-------------------------------------------------------------------------------------------------------+
|                                                        Current Version: 0.0.0  Latest Version: 0.0.0  |
+-------------------------------------------------------------------------------------------------------+
|  Device  |        Name         |        Model       |  Memory Usage  |  Total Memory  |  Utilization  |
+=======================================================================================================+
|  * 0     |   MoAI Accelerator  |  48xLarge.24576GB  |  -             |  -             |  -            |
+-------------------------------------------------------------------------------------------------------+
""")

    def test_running(self):
        self.switch("8")
        job = self.start_job([{"bytes": 853677 * MIB - 1}] + [{}] * 31, command="moai-run qwen.pt2", accelerator="4xLarge.2048GB", utilization=0.997)
        self.assertEqual(self.show(jobs=[job]), """\
TIME
+-----------------------------------------------------------------------------------------------------+
|                                                      Current Version: 0.0.0  Latest Version: 0.0.0  |
+-----------------------------------------------------------------------------------------------------+
|  Device  |        Name         |       Model      |  Memory Usage  |  Total Memory  |  Utilization  |
+=====================================================================================================+
|  * 0     |   MoAI Accelerator  |  4xLarge.2048GB  |  853677 MiB    |  2096640 MiB   |  100 %        |
+-----------------------------------------------------------------------------------------------------+

Processes:
+------------------------------------------------------------------------+
|  Device  |  Job ID  |    PID    |       Process       |  Memory Usage  |
+========================================================================+
|       0  |  111111  |  2222221  |  moai-run qwen.pt2  |  853677 MiB    |
+------------------------------------------------------------------------+
""")

    def test_two_jobs_on_two_accelerators_a_third_simulated_a_fourth_with_a_long_command(self):
        jobs = [self.start_job(devices(8, MIB), command="moai-run a.pt2", utilization=0.25)]
        time.sleep(1.1)  # jobs are shown in the order of the second in which they started
        jobs += [self.start_job(devices(4, 100, nodes=2), command="moai-run qwen1.5-7b.pt2 --dry-run", accelerator="H100-SXM:4", simulated=True,
                                bytes_per_device=81559 * MIB, utilization=0.125)]
        time.sleep(1.1)
        jobs += [self.start_job(devices(8, 3 * MIB), command=LONG, utilization=0.5)]
        self.assertEqual(self.show(jobs=jobs), """\
TIME
+---------------------------------------------------------------------------------------------------+
|                                                    Current Version: 0.0.0  Latest Version: 0.0.0  |
+---------------------------------------------------------------------------------------------------+
|  Device  |        Name         |      Model     |  Memory Usage  |  Total Memory  |  Utilization  |
+===================================================================================================+
|  * 0     |   MoAI Accelerator  |  xLarge.512GB  |  32 MiB        |  524160 MiB    |  75 %         |
|    1     |   MoAI Accelerator  |  H100-SXM:4    |  1 MiB         |  326236 MiB    |  13 %         |
+---------------------------------------------------------------------------------------------------+

Processes:
+-------------------------------------------------------------------------------------------------------------------+
|  Device  |  Job ID  |    PID    |                             Process                            |  Memory Usage  |
+===================================================================================================================+
|       0  |  111111  |  2222221  |  moai-run a.pt2                                                |  8 MiB         |
|       0  |  111113  |  2222223  |  moai-run gpt2.pt2 --data=text.txt --steps=1000 --global-b...  |  24 MiB        |
|       1  |  111112  |  2222222  |  moai-run qwen1.5-7b.pt2 --dry-run (simulated)                 |  1 MiB         |
+-------------------------------------------------------------------------------------------------------------------+
""")
        self.assertEqual(self.show("-i", "1", jobs=jobs), """\
TIME
+-------------------------------------------------------------------------------------------------+
|                                                  Current Version: 0.0.0  Latest Version: 0.0.0  |
+-------------------------------------------------------------------------------------------------+
|  Device  |        Name         |     Model    |  Memory Usage  |  Total Memory  |  Utilization  |
+=================================================================================================+
|    1     |   MoAI Accelerator  |  H100-SXM:4  |  1 MiB         |  326236 MiB    |  13 %         |
+-------------------------------------------------------------------------------------------------+

Processes:
+----------------------------------------------------------------------------------------------------+
|  Device  |  Job ID  |    PID    |                     Process                     |  Memory Usage  |
+====================================================================================================+
|       1  |  111112  |  2222222  |  moai-run qwen1.5-7b.pt2 --dry-run (simulated)  |  1 MiB         |
+----------------------------------------------------------------------------------------------------+
""")

    def test_physical_devices(self):
        job = self.start_job(devices(4, 5 * MIB, 7 * MIB, nodes=2), accelerator="Large.256GB", bytes_per_device=64 * MIB, utilization=1)
        table = """
Physical devices of MoAI Accelerator 0, Large.256GB:
+-----------------------------------------------------------------------------------------------------------------+
|  Device  |  Node  |  Stage  |  Data Parallel  |  Memory Usage  |  Peak Memory  |  Total Memory  |  Utilization  |
+=================================================================================================================+
|       0  |     0  |      0  |              0  |  5 MiB         |  7 MiB        |  64 MiB        |  50 %         |
|       1  |     0  |      0  |              1  |  5 MiB         |  7 MiB        |  64 MiB        |  50 %         |
|       2  |     1  |      1  |              0  |  5 MiB         |  7 MiB        |  64 MiB        |  50 %         |
|       3  |     1  |      1  |              1  |  5 MiB         |  7 MiB        |  64 MiB        |  50 %         |
+-----------------------------------------------------------------------------------------------------------------+

Processes:
"""
        printed = self.show("-p", jobs=[job], MOAI_ACCELERATOR="large")
        self.assertIn(table, printed)
        self.assertIn("|  Large.256GB  |  20 MiB        |  256 MiB       |  100 %        |\n", printed)
        lines = table.splitlines(keepends=True)
        self.assertIn("".join(lines[:5] + lines[7:8] + lines[9:]), self.show("-p", "-i", "2", jobs=[job], MOAI_ACCELERATOR="large"))

    def test_idle_physical_devices(self):
        printed = self.show("-p", MOAI_ACCELERATOR="4xLarge.2048GB")
        for device, node in [(0, 0), (7, 0), (8, 1), (31, 3)]:
            self.assertIn(f"|  {device:>6}  |  {node:>4}  |      -  |              -  |  -             |  -            |  65520 MiB     |  -            |\n", printed)
        self.assertEqual(printed.count("65520 MiB"), 32)

    def test_a_terminal_that_is_wider_shows_more_of_a_command(self):
        self.start_job([{}] * 8, command=LONG)
        for columns, shown in [(60, LONG[:57] + "..."), (120, LONG[:60] + "..."), (140, LONG[:80] + "..."), (200, LONG)]:
            pid, terminal = pty.fork()
            if pid == 0:
                subprocess.run(["stty", "columns", str(columns)])
                os.execve(BIN / "moai-smi", ["moai-smi"], self.environment | {"NO_COLOR": "1"})
            printed = b""
            try:
                while data := os.read(terminal, 65536):
                    printed += data
            except OSError:
                pass
            os.close(terminal)
            os.waitpid(pid, 0)
            self.assertIn(f"|  {shown}  |", printed.decode(), columns)


class GoneJobs(UserTestCase):
    def kill(self, **fields):
        process, job = self.start_job([{}] * 8, **fields)
        process.kill()
        process.wait()
        return process, job

    def test_told_once(self):
        for fields, where in [({"step": 17, "num_steps": 40}, "at step 17 of 40"), ({"step": 3}, "at step 3"), ({"num_steps": 40}, "before its first step")]:
            process, job = self.kill(command="moai-run gpt2.pt2", **fields)
            code, printed, errors = self.smi()
            self.assertEqual((code, errors), (0, ""))
            self.assertIn("|  -             |  -             |  -            |\n", printed)
            self.assertNotIn("Processes:", printed)
            self.assertTrue(printed.endswith(f"+\n\nJob {job} (moai-run gpt2.pt2) is gone: its process {process.pid} ended without a word {where}.\n"), printed)
            self.assertNotIn("gone", self.smi()[1])
            self.assertEqual(list((self.state / "moai/jobs").iterdir()), [])

    def test_not_yet_waited_for(self):
        process, job = self.start_job([{}])
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # has ended and stays a zombie
        self.assertIn(f"Job {job} ", self.smi()[1])

    def test_a_job_that_ends_well_is_not_told_of(self):
        process, job = self.start_job([{}])
        self.assertIn(str(job), self.smi()[1])
        process.terminate()
        self.assertEqual(process.wait(timeout=20), 0)
        printed = self.smi()[1]
        self.assertNotIn(str(job), printed)
        self.assertNotIn("gone", printed)

    def test_files_that_are_no_jobs(self):
        self.start_job([{}] * 8, command="moai-run good.pt2")
        jobs = self.state / "moai/jobs"
        whole = next(jobs.iterdir()).read_bytes()
        damaged = bytearray(whole)
        damaged[600] ^= 1
        for number, content in enumerate([whole[:100], whole[:-1], whole + b"x", bytes(damaged), b"no job at all", whole[:8] + b"\2" + whole[9:], whole], 1):
            (jobs / f"{number}.job").write_bytes(content)
        (jobs / "8.job").mkdir()
        (jobs / "notes.txt").write_text("not read")
        code, printed, errors = self.smi()
        self.assertEqual(code, 0)
        self.assertEqual(printed.count("moai-run good.pt2"), 1)
        reasons = ["its size is wrong"] * 3 + ["its bytes were changed", "it begins otherwise", None, "its bytes were changed", "it begins otherwise"]
        for number, (reason, line) in enumerate(zip(reasons, errors.splitlines(), strict=True), 1):
            sentence = f"is no whole state of a job ({reason}); remove it" if reason else \
                "is of version 2, and this moai reads version 1; use the moai that wrote it"
            self.assertEqual(line, f"moai-smi: warning: {jobs}/{number}.job: {sentence}")
            self.assertTrue((jobs / f"{number}.job").exists())

    def test_files_that_were_never_filled_go_in_time(self):
        jobs = self.state / "moai/jobs"
        jobs.mkdir(parents=True)
        for name, age in [("1.job", 0), ("1.job.tmp", 0), ("2.job", 3600), ("2.job.tmp", 3600)]:
            (jobs / name).touch()
            os.utime(jobs / name, (time.time() - age,) * 2)
        self.assertEqual(self.smi()[2], "")
        self.assertEqual(sorted(path.name for path in jobs.iterdir()), ["1.job", "1.job.tmp"])


class Json(UserTestCase):
    def test_all_there_is(self):
        process, job = self.start_job(devices(4, 5 * MIB, 7 * MIB), command="moai-run a.pt2 \u00fc", accelerator="Large.256GB", step=3, num_steps=9, loss=0.5,
                                      utilization=0.5, simulated=True)
        dead, dead_job = self.start_job([{}])
        dead.kill()
        dead.wait()
        before = int(time.time())
        code, printed, errors = self.smi("--json", "-p", MOAI_ACCELERATOR="large")
        self.assertEqual((code, errors), (0, ""))
        shown = json.loads(printed)
        self.assertEqual(sorted(shown), ["accelerators", "devices", "gone", "processes", "time", "version"])
        self.assertLessEqual(abs(time.mktime(time.strptime(shown["time"][:19], "%Y-%m-%dT%H:%M:%S")) - before), 2)
        self.assertEqual(shown["accelerators"], [{"device": 0, "current": True, "name": "Large.256GB", "num_devices": 4, "num_jobs": 1,
                                                  "bytes_in_use": 20 * MIB, "total_bytes": 4 * 65520 * MIB, "utilization": 0.5}])
        running, = shown["processes"]
        self.assertLessEqual(abs(running.pop("started_at") - before), 5)
        self.assertEqual(running, {"device": 0, "job_id": job, "pid": process.pid, "command": "moai-run a.pt2 \u00fc", "accelerator": "Large.256GB",
                                   "simulated": True, "phase": "training", "step": 3, "num_steps": 9, "loss": 0.5, "bytes_in_use": 20 * MIB, "utilization": 0.5})
        gone, = shown["gone"]
        self.assertEqual((gone["job_id"], gone["pid"], gone["loss"], gone["simulated"]), (dead_job, dead.pid, None, False))
        self.assertEqual(len(shown["devices"]), 4)
        self.assertEqual(shown["devices"][3], {"accelerator": 0, "device": 3, "node": 0, "stage": 1, "data_parallel": 1, "bytes_in_use": 5 * MIB,
                                               "peak_bytes": 7 * MIB, "total_bytes": 65520 * MIB, "utilization": 0.5})
        shown = json.loads(self.smi("--json", MOAI_ACCELERATOR="small")[1])
        self.assertEqual([row["name"] for row in shown["accelerators"]], ["Small.64GB", "Large.256GB"])
        self.assertEqual((shown["processes"][0]["device"], shown["gone"]), (1, []))
        self.assertNotIn("devices", shown)


class Watch(UserTestCase):
    def test_one_after_the_other_until_interrupted(self):
        process = subprocess.Popen([BIN / "moai-smi", "--watch", "0.1", "--json"], stdout=subprocess.PIPE, text=True, env=self.environment)
        try:
            self.assertEqual([json.loads(process.stdout.readline())["processes"] for _ in range(3)], [[]] * 3)
            job = self.start_job([{}])[1]
            while not (seen := json.loads(process.stdout.readline())["processes"]):
                pass
            self.assertEqual(seen[0]["job_id"], job)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(timeout=20), 0)
        finally:
            process.kill()
            process.stdout.close()

    def test_a_terminal_is_cleared_and_a_pipe_is_not(self):
        process = subprocess.Popen([BIN / "moai-smi", "--watch=0.05"], stdout=subprocess.PIPE, text=True, env=self.environment)
        text = "".join(process.stdout.readline() for _ in range(20))
        process.kill()
        process.wait()
        process.stdout.close()
        self.assertNotIn("\033", text)
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(BIN / "moai-smi", ["moai-smi", "--watch=0.05"], self.environment | {"NO_COLOR": "1"})
        seen = b""
        while seen.count(b"\033[H\033[2J") < 3:
            seen += os.read(terminal, 65536)
        os.write(terminal, b"\x03")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(terminal)


class Reset(UserTestCase):
    def test_no_job(self):
        self.assertEqual(self.smi("-r"), (0, "No job is running.\n", ""))

    def test_asks_and_stops(self):
        process, job = self.start_job([{}], command="moai-run gpt2.pt2")
        question = f"Stop job {job} (moai-run gpt2.pt2)? [y/N]: "
        for answer, printed in [("n\n", question), ("\n", question), ("", question + "\n")]:
            self.assertEqual(self.smi("-r", typed=answer), (0, printed, ""))
            self.assertIsNone(process.poll())
        self.assertEqual(self.smi("-r", typed="y\n"), (0, question + f"Job {job} (moai-run gpt2.pt2) has stopped.\n", ""))
        self.assertEqual(process.wait(timeout=20), 0)

    def test_yes_stops_all_or_those_of_one_accelerator(self):
        current, other = self.start_job([{}] * 8), self.start_job([{}], accelerator="Small.64GB")
        code, printed, errors = self.smi("-r", "-y", "-i", "1")
        self.assertEqual((code, printed, errors), (0, f"Job {other[1]} (moai-run gpt2.pt2) has stopped.\n", ""))
        self.assertIsNone(current[0].poll())
        self.assertEqual(self.smi("-r", "-y")[1], f"Job {current[1]} (moai-run gpt2.pt2) has stopped.\n")

    def test_a_job_that_does_not_stop(self):
        process, job = self.start_job([{}], stubborn=True)
        self.assertEqual(self.smi("-r", "-y"), (1, "", f"moai-smi: error: job {job} is still running 10 s after it was asked to stop; wait for its step to "
                                                       f"end, or end it with kill -9 {process.pid}\n"))
        self.assertIsNone(process.poll())


class Usage(UserTestCase):
    def test_what_is_wrong_is_told_in_one_sentence(self):
        for arguments, expected, word in [(("-i", "1"), 1, "there is no accelerator 1; expected -i 0, the only one"),
                                          (("-p", "-i", "8"), 1, "there is no physical device 8; expected -i with a number from 0 to 7"),
                                          (("-i", "x"), 2, "-i x: expected a whole number"), (("-i", "-1"), 2, "-i -1: expected"),
                                          (("--watch", "0"), 2, "--watch 0: expected seconds"), (("--watch", "nan"), 2, "expected seconds"),
                                          (("-y",), 2, "-y answers"), (("-r", "--json"), 2, "--json contradicts it"), (("x",), 2, "'x'")]:
            code, printed, errors = self.smi(*arguments)
            self.assertEqual((code, printed, errors.count("\n")), (expected, "", 1), arguments)
            self.assertTrue(errors.startswith("moai-smi: error: "), errors)
            self.assertIn(word, errors)

    def test_help(self):
        code, printed, _ = self.smi("--help")
        self.assertEqual(code, 0)
        for option in ("-p", "-i", "-r", "-y", "--json", "--watch"):
            self.assertIn(f"  {option}", printed)

    def test_a_state_folder_that_is_no_folder(self):
        self.state.write_text("")
        self.assertIn("xLarge.512GB", self.smi()[1])


if __name__ == "__main__":
    unittest.main()
