"""lm-evaluation-harness: its numbers are those of `bitnet logits`."""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

from harness import Server, case, check

try:
    import lm_eval
    import numpy
except ImportError:
    lm_eval = None

DATA = pathlib.Path(__file__).parent / "stories"
TASKS = {
    "stories_choice": """
        output_type: multiple_choice
        doc_to_text: text
        doc_to_choice: choices
        doc_to_target: answer
        target_delimiter: ""
        metric_list: [{metric: acc}, {metric: acc_norm}]
        """,
    "stories_text": """
        output_type: loglikelihood_rolling
        doc_to_text: ""
        doc_to_target: "{{text}}"
        metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}]
        """,
}
FILES = {"stories_choice": "questions.jsonl", "stories_text": "texts.jsonl"}


def write_task(folder, name):
    lines = [line.strip() for line in TASKS[name].strip().splitlines()]
    data = (DATA / FILES[name]).resolve()
    lines += [f"task: {name}", "dataset_path: json", "test_split: test",
              f"dataset_kwargs: {{data_files: {{test: {json.dumps(str(data))}}}}}"]
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")


class Logits:
    """Log probabilities from the logits that the program writes."""

    def __init__(self, program):
        self.program = program
        self.vocabulary = None

    def run(self, *arguments, text=""):
        result = subprocess.run([self.program, *arguments], input=text.encode(), capture_output=True)
        check(result.returncode == 0, result.stderr.decode())
        return result.stdout

    def ids(self, text):
        return [int(word) for word in self.run("tokenize", text=text).split()]

    def scores(self, ids, count):
        """For each of the last `count` tokens, its log probability and whether it is the most likely one."""
        with tempfile.NamedTemporaryFile() as file:
            self.run("logits", "--tokens", "-", "--output", file.name, "--overwrite", text=json.dumps(ids[:-1]))
            rows = numpy.fromfile(file.name, "<f4").reshape(len(ids) - 1, -1).astype(numpy.float64)[-count:]
        top = rows.max(axis=1, keepdims=True)
        normal = rows - top - numpy.log(numpy.exp(rows - top).sum(axis=1, keepdims=True))
        wanted = ids[-count:]
        return [(float(row[token]), int(row.argmax()) == token) for row, token in zip(normal, wanted)]


# The command would first read the package's own thousands of tasks.
PROGRAM = """
import json, sys
import lm_eval
from lm_eval.tasks import TaskManager
folder, url, *tasks = sys.argv[1:]
found = lm_eval.simple_evaluate(
    model="local-completions", tasks=tasks, batch_size=3, log_samples=True, bootstrap_iters=0,
    model_args=f"model=demo,base_url={url}/v1/completions,tokenizer_backend=remote,num_concurrent=1,max_retries=1",
    task_manager=TaskManager(include_path=folder, include_defaults=False))
with open(folder + "/found.json", "w") as file:
    json.dump({"results": found["results"], "samples": found["samples"]}, file, default=str)
"""


def evaluate(server, folder):
    """What the package finds, and its samples, by task."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    run = subprocess.run([sys.executable, "-c", PROGRAM, str(folder), server.url, *TASKS], env=environment,
                         capture_output=True, text=True, timeout=300)
    check(run.returncode == 0, run.stderr[-2000:])
    found = json.loads((folder / "found.json").read_text())
    return found["results"], found["samples"]


if lm_eval:
    @case("lm-evaluation-harness: a task of choices and a perplexity have the numbers of bitnet logits")
    def _(program):
        logits = Logits(program)
        with Server(program) as server, tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for task in TASKS:
                write_task(folder, task)
            results, samples = evaluate(server, folder)
            begin = server.json("GET", "/tokenizer_info")["bos_token"]
            begin = server.json("POST", "/tokenize", {"prompt": begin, "add_special_tokens": False})["tokens"]
        check(len(begin) == 1, f"has the begin token {begin}")

        def compare(what, found, scores):
            value, greedy = sum(score for score, _ in scores), all(best for _, best in scores)
            check(math.isclose(found[0], value, abs_tol=2e-6 * len(scores)), f"{what}: {found} instead of {value}")
            return value, greedy

        right, normed = [], []
        check(len(samples["stories_choice"]) == 12, "has lost questions")
        for sample in samples["stories_choice"]:
            document, values = sample["doc"], []
            for choice, answer in zip(document["choices"], sample["filtered_resps"]):
                context, whole = logits.ids(document["text"]), logits.ids(document["text"] + choice)
                value, greedy = compare(choice, [float(answer[0])], logits.scores(whole, len(whole) - len(context)))
                check(str(answer[1]) == str(greedy), f"{choice}: greedy is {answer[1]}")
                values.append(value)
            best = max(range(len(values)), key=values.__getitem__)
            lengths = [len(choice) for choice in document["choices"]]
            best_normed = max(range(len(values)), key=lambda index: values[index] / lengths[index])
            right.append(best == document["answer"])
            normed.append(best_normed == document["answer"])
        for metric, hits in (("acc", right), ("acc_norm", normed)):
            found = results["stories_choice"][f"{metric},none"]
            expected = sum(hits) / len(hits)
            check(math.isclose(found, expected), f"{metric} is {found}; expected {expected}")

        total, size = 0.0, 0
        for sample in samples["stories_text"]:
            text = sample["doc"]["text"]
            ids = begin + logits.ids(text)
            value, _ = compare(text, [float(sample["filtered_resps"][0])], logits.scores(ids, len(ids) - 1))
            total, size = total + value, size + len(text.encode())
        found = results["stories_text"]["byte_perplexity,none"]
        check(math.isclose(found, math.exp(-total / size), rel_tol=1e-6), f"byte_perplexity is {found}")
