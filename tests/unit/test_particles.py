"""Korean particles follow the last sound of the word that is put in, however it is written."""

import re

import pytest

from hfdemo.words import say, texts
from hfdemo.words.particles import PARTICLES, choose_particle, last_sound

VOWEL = [
    *("네트워크", "누구", "Space의 주소"),
    *("2", "4", "5", "19", "int4", "0.6B", "12.3 MB", "1.5 GB", "50 %"),
    *("Llama", "kanana", "Phi", "GPU", "ZeroGPU", "ChatGPT", "Hugging Face", "GitHub", "Docker", "zero-a10g"),
    *("server", "8bit", "README", "Instruct", "https", "app.py", "disk", "loop"),
    *("https://huggingface.co/settings/tokens", "https://huggingface.co/org/", "/srv/models/llama/", "~/qwen.gguf"),
]
CONSONANT = [
    *("토큰", "모델 이름", "값"),
    *("0", "3", "6", "10", "100", "1,000", "float16", "bfloat16"),
    *("Qwen", "Falcon", "HF_TOKEN", "main", "JSON", "LLM", "SmolLM", "RAM", "training", "name"),
    *("chat", "bot", "app", "pip", "stack", "public", "basic", "web", "notebook"),
    *("https://example.org/v3", "models/qwen"),
]
RIEUL = [
    *("모델", "파일", "1", "7", "8", "int8", "2048", "URL", "R", "L", "model", "Mistral", "t4-small", "table"),
    *("HFDEMO_MODEL", "file", "pyproject.toml", "XML"),
]


@pytest.mark.parametrize("word", VOWEL)
def test_a_word_ends_in_a_vowel(word):
    assert last_sound(word) == "vowel"


@pytest.mark.parametrize("word", CONSONANT)
def test_a_word_ends_in_a_consonant(word):
    assert last_sound(word) == "consonant"


@pytest.mark.parametrize("word", RIEUL)
def test_a_word_ends_in_rieul(word):
    assert last_sound(word) == "ㄹ"


@pytest.mark.parametrize("word", ["", " ", "…", "()", "日本", "😀", "é", "ж"])
def test_what_nobody_can_tell_is_left_open(word):
    assert last_sound(word) is None
    assert choose_particle(word, "을(를)") == "을(를)"


@pytest.mark.parametrize(
    ("word", "sound"),
    [
        ("'org/model'", "ㄹ"),
        ('"Qwen"', "consonant"),
        ("`GPU`", "vowel"),
        ("「토큰」", "consonant"),
        ("Qwen.", "consonant"),
        ("[Qwen]", "consonant"),
        ("(Qwen)", "consonant"),
        ("Llama (Qwen)", "vowel"),
        ("Qwen3(4.2 GB)", "consonant"),
        ("토큰 (8) (9)", "consonant"),
        ("\u1106\u1169\u1103\u1166\u11af", "ㄹ"),
    ],
    ids=lambda part: part,
)
def test_quotation_marks_brackets_and_remarks_are_not_read(word, sound):
    assert last_sound(word) == sound


@pytest.mark.parametrize(
    ("mark", "vowel", "rieul", "consonant"),
    [
        ("을(를)", "를", "을", "을"),
        ("은(는)", "는", "은", "은"),
        ("이(가)", "가", "이", "이"),
        ("과(와)", "와", "과", "과"),
        ("(으)로", "로", "로", "으로"),
        ("(이)라", "라", "이라", "이라"),
        ("(이)나", "나", "이나", "이나"),
    ],
)
def test_each_particle_has_the_form_that_follows(mark, vowel, rieul, consonant):
    chosen = [choose_particle(word, f"{mark} …") for word in ("Llama", "모델", "Qwen")]
    assert chosen == [f"{form} …" for form in (vowel, rieul, consonant)]


def test_a_quotation_mark_or_a_space_may_stand_before_the_particle():
    assert choose_particle("Qwen", "'을(를) 고르세요") == "'을 고르세요"
    assert choose_particle("https://huggingface.co", " 이(가) 답하지 않습니다") == " 가 답하지 않습니다"


def test_only_the_mark_right_behind_the_gap_is_resolved():
    assert choose_particle("Qwen", " 모델을(를)") == " 모델을(를)"
    assert choose_particle("Qwen", "을(를) 다른 것은(는)") == "을 다른 것은(는)"
    assert choose_particle("Qwen", "에 있습니다") == "에 있습니다"


@pytest.fixture
def korean(monkeypatch):
    """Add a text, in Korean."""

    def add(text: str) -> str:
        monkeypatch.setitem(texts("ko"), "test.text", text)
        return "test.text"

    return add


def test_a_sentence_has_the_particles_of_what_fills_it(korean):
    key = korean("{a}은(는) {b!r}을(를) {c:>3}(으)로")
    assert say(key, "ko", a="Qwen", b="모델", c=7) == "Qwen은 '모델'을   7로"
    assert say(key, "ko", a="Llama", b="GPU", c=6) == "Llama는 'GPU'를   6으로"


def test_marks_inside_an_inserted_value_are_left_alone(korean):
    key = korean("{a}을(를) {b}")
    assert say(key, "ko", a="은(는)", b="이(가) {a}") == "은(는)을 이(가) {a}"


def test_braces_stay_as_they_are_written(korean):
    assert say(korean("{{}} {a}과(와) {{a}}"), "ko", a="Qwen") == "{} Qwen과 {a}"


def test_every_mark_is_right_behind_a_gap():
    """Elsewhere the author knows the word, and writes the one form that follows."""
    marks = "|".join(
        map(re.escape, [*PARTICLES, "를(을)", "는(은)", "가(이)", "와(과)", "(를)", "(는)", "(가)", "(와)"])
    )
    for key, text in texts("ko").items():
        without = re.sub(rf"\}}[\s'\"]*(?:{'|'.join(map(re.escape, PARTICLES))})", "", text)
        assert not re.search(marks, without), key
