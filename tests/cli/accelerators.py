"""What the tests of moai-smi and moai-switch-model share: a user with folders of their own, and jobs that only say that they run."""
import json
import os
import subprocess

from tools import BIN, TestCase

FLAVORS = ["Small.64GB", "Medium.128GB", "Large.256GB", "xLarge.512GB", "1.5xLarge.768GB", "2xLarge.1024GB", "3xLarge.1536GB", "4xLarge.2048GB",
           "6xLarge.3072GB", "8xLarge.4096GB", "12xLarge.6144GB", "24xLarge.12288GB", "48xLarge.24576GB"]
MIB = 1 << 20


class UserTestCase(TestCase):
    def setUp(self):
        super().setUp()
        self.config, self.state = self.folder / "config", self.folder / "state"
        hidden = ("MOAI_ACCELERATOR", "NO_COLOR")
        self.environment = {key: value for key, value in os.environ.items() if key not in hidden} | {
            "HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.config), "XDG_STATE_HOME": str(self.state), "TERM": "xterm"}
        self.choice = self.config / "moai/accelerator.json"

    def run_tool(self, tool, *arguments, typed="", cwd=None, **variables):
        """(exit code, standard output, standard error)"""
        done = subprocess.run([BIN / tool, *map(str, arguments)], input=typed, capture_output=True, text=True, timeout=60, cwd=cwd,
                              env=self.environment | variables)
        return done.returncode, done.stdout, done.stderr

    def switch(self, *arguments, **options):
        return self.run_tool("moai-switch-model", *arguments, **options)

    def smi(self, *arguments, **options):
        return self.run_tool("moai-smi", *arguments, **options)

    def start_job(self, devices, **fields):
        """A process that publishes the state, and its job's number."""
        process = subprocess.Popen([BIN / "moai-test-job", json.dumps(fields | {"devices": devices})], stdout=subprocess.PIPE, text=True,
                                   env=self.environment)

        def end():
            process.kill()
            process.wait()
            process.stdout.close()

        self.addCleanup(end)
        job = int(process.stdout.readline())
        return process, job
