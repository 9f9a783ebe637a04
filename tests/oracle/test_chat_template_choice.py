"""Which of a model's chat templates is rendered, and with which special tokens: the binary on folders
without weights against transformers' own tokenizer of the same folder."""
import json
import shutil
import subprocess

import pytest

transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

MESSAGES = [{"role": "user", "content": "Hi"}]
TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {}}}]
SHOW = "{{ messages[0].content }}{% if tools %}{{ tools|length }}{% endif %}"
NAMED = {"default": f"default {SHOW}", "tool_use": f"tools {SHOW}", "rag": f"rag {SHOW}"}
TOKENS = "{{ bos_token }}|{{ eos_token }}|{{ bos_token is defined }}|{{ eos_token is defined }}"


@pytest.fixture
def folder(shared_data, tmp_path):
    """Qwen2's tokenizer files with a configuration that names a BOS, and no template."""
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(shared_data / "tokenizers" / "qwen2" / name, tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps(
        {"model_type": "qwen2", "bos_token_id": 151643, "eos_token_id": 151645}))
    configure(tmp_path, chat_template=None)
    return tmp_path


def configure(folder, **members):
    path = folder / "tokenizer_config.json"
    config = {**json.loads(path.read_text()), **members}
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "absent"}))


def listed(*names):
    return [{"name": name, "template": NAMED[name]} for name in names]


def oracle(folder, tools):
    """transformers' text, or None where it refuses."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    try:
        return tokenizer.apply_chat_template(MESSAGES, tools=tools, tokenize=False,
                                             add_generation_prompt=True)
    except ValueError as error:
        assert "multiple chat templates" in str(error)
        return None


def ours(rill, model, tools):
    """The binary's text, or None with the sentence that it refuses with."""
    path = model.parent / "messages.json"
    path.write_text(json.dumps(MESSAGES))
    words = [rill, "render", str(model), "--messages", str(path), "--json"]
    if tools is not None:
        (model.parent / "tools.json").write_text(json.dumps(tools))
        words += ["--tools", str(model.parent / "tools.json")]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    answer = json.loads(done.stdout)
    return (answer["text"], "") if done.returncode == 0 else (None, answer["error"]["message"])


def compare(rill, folder):
    texts = {}
    for name, tools in (("none", None), ("some", TOOLS), ("empty", [])):
        want = oracle(folder, tools)
        got, why = ours(rill, folder, tools)
        assert got == want, (name, why)
        texts[name] = (got, why)
    return texts


@pytest.mark.parametrize("names", [
    ("default",), ("default", "tool_use"), ("tool_use", "rag", "default"), ("default", "rag"),
    ("tool_use",), ("rag", "tool_use"), ("rag",)])
def test_a_list_of_templates(rill, folder, names):
    configure(folder, chat_template=listed(*names))
    texts = compare(rill, folder)
    for text, why in texts.values():
        assert text is not None or all(name in why for name in names)
    if "tool_use" in names:
        assert texts["some"][0] == "tools Hi1"


@pytest.mark.parametrize("names", [(), ("tool_use",), ("tool_use", "rag"), ("rag", "default")])
@pytest.mark.parametrize("plain", [True, False])
def test_templates_as_files(rill, folder, names, plain):
    """Files count, and then those of tokenizer_config.json do not."""
    configure(folder, chat_template=listed("default", "rag"))
    if plain:
        (folder / "chat_template.jinja").write_text(f"file {SHOW}")
    more = folder / "additional_chat_templates"
    more.mkdir()
    (more / "README.md").write_text("not a template")
    for name in names:
        (more / f"{name}.jinja").write_text(f"{name} file {SHOW}")
    compare(rill, folder)


def test_additional_templates_in_a_hub_cache_and_outside_the_folder(rill, folder, tmp_path):
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "0123"
    (snapshot / "additional_chat_templates").mkdir(parents=True)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "config.json"):
        shutil.copy(folder / name, repository / "blobs" / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    (repository / "blobs" / "t").write_text(NAMED["tool_use"])
    link = snapshot / "additional_chat_templates" / "tool_use.jinja"
    link.symlink_to("../../../blobs/t")
    assert ours(rill, snapshot, TOOLS)[0] == "tools Hi1" == oracle(snapshot, TOOLS)
    link.unlink()
    (tmp_path / "secret").write_text("secret")
    link.symlink_to(tmp_path / "secret")
    text, why = ours(rill, snapshot, TOOLS)
    assert text is None and "tool_use.jinja" in why and "leads out" in why


@pytest.mark.parametrize("bad", [[], ["x"], [{"name": "default"}], [{"name": 1, "template": "x"}],
                                 {"default": "x"}, 7])
def test_what_is_no_list_of_templates_is_named(rill, folder, bad):
    configure(folder, chat_template=bad)
    text, why = ours(rill, folder, None)
    assert text is None and "tokenizer_config.json: chat_template: expected" in why


def test_a_broken_template_fails_only_where_it_is_chosen(rill, folder):
    configure(folder, chat_template=[{"name": "default", "template": "{% if %}"},
                                     *listed("tool_use")])
    assert ours(rill, folder, TOOLS)[0] == "tools Hi1"
    text, why = ours(rill, folder, None)
    assert text is None and "chat template 'default':1:" in why


@pytest.mark.parametrize("names", [("default",), ("default", "tool_use"), ("tool_use", "rag")])
def test_named_templates_of_gguf(rill, tmp_path, names):
    """The keys that gguf's own writer makes of a list."""
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([bytes([byte]).decode() for byte in range(33, 127)] + ["<e>"])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(94)
    writer.add_chat_template(listed(*names))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    plain, why = ours(rill, tmp_path / "m.gguf", None)
    with_tools, _ = ours(rill, tmp_path / "m.gguf", TOOLS)
    assert with_tools == ("tools Hi1" if "tool_use" in names else "default Hi1")
    if "default" in names:
        assert plain == "default Hi"
    else:
        assert plain is None and all(name in why for name in names)


@pytest.mark.parametrize("members", [
    {}, {"bos_token": None}, {"eos_token": None}, {"bos_token": None, "eos_token": None},
    {"bos_token": "<|im_start|>"}, {"bos_token": "<|endoftext|>", "eos_token": "<|im_start|>"},
    {"bos_token": {"content": "<|im_start|>", "__type": "AddedToken"}}])
def test_a_null_token_is_undefined_whatever_config_json_says(rill, folder, members):
    configure(folder, chat_template=TOKENS, **members)
    text, why = ours(rill, folder, None)
    assert text == oracle(folder, None), why
