"""Invents people in many scripts, with every awkward kind of name, address and e-mail, as JSON Lines.

    python examples/make_people.py --count 5000 --seed 7 --output people.jsonl

Each line is a JSON object with the attributes of one contact. The same seed makes the same people, and the first
`EVERY_KIND` of them hold every awkward kind, whatever the seed.
"""

import argparse
import json
import random
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from faker import Faker

Person = dict[str, Any]

# At least one locale for each script that Faker's names are written in.
LOCALES = (
    "en_US", "pt_PT", "de_DE", "fr_FR", "es_MX", "pl_PL", "tr_TR", "vi_VN",  # Latin
    "ru_RU", "uk_UA", "bg_BG",  # Cyrillic
    "el_GR", "ar_AA", "fa_IR", "he_IL", "hi_IN", "ne_NP", "bn_BD", "ta_IN", "th_TH",
    "ka_GE", "hy_AM", "zh_CN", "zh_TW", "ja_JP", "ko_KR",
)  # fmt: skip

# Invented names in scripts that Faker lacks.
MORE_SCRIPTS: dict[str, str | None] = {
    "gujarati": "મીરા પટેલ", "gurmukhi": "ਹਰਪ੍ਰੀਤ ਸਿੰਘ", "kannada": "ಅನಿತಾ ಗೌಡ", "malayalam": "അനു മേനോൻ",
    "telugu": "రవి రెడ్డి", "sinhala": "නිමල් පෙරේරා", "khmer": "សុខា ចាន់", "lao": "ທອງ ພົມມະ",
    "myanmar": "မေသူ အောင်", "tibetan": "བསྟན་འཛིན་", "ethiopic": "ሰላም በቀለ", "cherokee": "ᎠᏓ ᏩᏯ",
    "nko": "ߞߊ߲ߕߍ߫ ߛߏ߯", "katakana": "マリア サントス", "hiragana": "さくら あおい",
}  # fmt: skip

# What a name can be. None stands for no name at all.
NAMES: dict[str, str | None] = MORE_SCRIPTS | {
    "composed marks": "Zo\u00eb \u00c5str\u00f6m",
    "the same, decomposed": "Zoe\u0308 A\u030astro\u0308m",
    "marks upon marks": "Z\u0351\u036b\u0343a\u0308l\u0363\u0368a",
    "marks out of canonical order": "e\u0301\u0323 and e\u0323\u0301",
    "right to left with marks": "\u05de\u05b4\u05d9\u05e8\u05b8\u05d4 \u05db\u05bc\u05b9\u05d4\u05b5\u05df",
    "right to left with vowels": "\u0639\u064f\u0645\u064e\u0631 \u0627\u0644\u0646\u0651\u064f\u0648\u0631",
    "both directions": "\u202b\u05e0\u05d5\u05e2\u05d4\u202c Reed \u200f(\u0639\u0645\u0631)\u200e",
    "emoji with joiners": "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 Reed",
    "emoji with selector, tone and flag": "\U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44b\U0001f3fd \U0001f1f5\U0001f1f9",
    "beyond the basic plane": "\U00020bb7\u91ce \U0001d50d\U0001d50e",
    "zero width": "An\u200bna\u200c Ma\u200dria\u2060",
    "byte order mark": "\ufeffBo Mark",
    "soft hyphen": "Mar\u00adgaret",
    "apostrophe": "Siobh\u00e1n O'Dell-d\u2019Arcy",
    "quotes": "Jo \"Ace\" O'Dell `x` \u201cy\u201d",
    "leading blank": "  Ann Lead",
    "trailing blank": "Ann Trail  ",
    "tabs": "\tAnn\tTab\t",
    "line feed": "Ann\nLine\n",
    "carriage return": "Ann\r\nReturn\r",
    "line and paragraph separators": "Ann\u2028Line\u2029Paragraph\u0085",
    "no-break and ideographic blanks": "\u00a0Ann\u3000Wide\u3000",
    "one letter": "X",
    "one letter, not Latin": "\u0416",
    "digits": "12345",
    "leading zeros": "0012",
    "beyond exact floats": "9007199254740993",
    "exponent": "1e3",
    "null in words": "null",
    "true in words": "true",
    "HTML": "<script>alert('hi')</script> &amp; <b>",
    "SQL": "Robin'); DELETE FROM contacts;-- %_",
    "formula": "=1+1",
    "templates": "%s %d {0} ${x} {{y}} #{z}",
    "path": "../../etc/hosts",
    "backslashes": "back\\slash \\u0041 \\n \\",
    "letters that change when folded": "\u0130\u0131 \u00df\u1e9e \u017f \u03a3\u03c3\u03c2",
    "compatibility forms": "\ufb01n \ufdfa \u2460 \uff21\uff4e\uff4e \u2126",
    "controls": "\x01\x07\x1b[31mred\x1b[0m\x7f",
    "private use and non-characters": "\ue000 \U0010fffd \ufffe\uffff",
    "replacement character": "Ann \ufffd",
    "very long": ("Maximiliana " * 167)[:2000],
    "very long, not Latin": ("\u0639\u0628\u062f \u0627\u0644\u0631\u062d\u0645\u0646 " * 200)[:2000],
    "empty": "",
    "missing": None,
}  # fmt: skip

# What any part of an address can be.
ADDRESSES = {
    "lines": "Flat 1\n12 High Street\nnear \"The Crown\"",
    "carriage returns": "Flat 2\r\n14 High Street\r\n",
    "tabs": "5\tUpper\tRow",
    "leading and trailing blanks": "  16 Elm Row  ",
    "only blanks": "   ",
    "leading and trailing lines": "\n\t18 Elm Row\t\n",
    "empty": "",
    "apostrophes and quotes": "c/o O'Dell, \"Rose's\"",
    "digits": "0012",
    "composed marks": "Stra\u00dfe des Caf\u00e9s",
    "decomposed marks": "Rue du Cafe\u0301",
    "Han": "\u3012100-0001 \u6771\u4eac\u90fd\u67d0\u533a\u67d0\u753a",
    "right to left": "\u0663 \u0634\u0627\u0631\u0639 \u0627\u0644\u0646\u064a\u0644",
    "HTML": "1/2 & 3 <b>bold</b>",
    "SQL": "7'; DROP TABLE sites;--",
    "backslashes": "C:\\new\\table",
    "separators": "line\u2028paragraph\u2029end",
    "zero width": "9\u200b Elm\u2060 Row",
    "emoji": "\U0001f3e0 21 Elm Row",
    "long": "Long Row, " * 200,
}  # fmt: skip

# What an e-mail can be; # stands for a number that makes it one of a kind.
EMAILS = {
    "longest": "",  # made by `email_of`, since the number takes room
    "plus part": "ann+spring.list#@example.test",
    "two plus parts": "ann+two+#@example.test",
    "apostrophe": "o'dell.#@example.test",
    "quoted": "\"ann.'x'.#\"@example.test",
    "quoted at sign": '"ann@home#"@example.test',
    "every sign": "!$%&'*/=?^_`{|}~-#@example.test",
    "upper case": "ANN.Upper#@EXAMPLE.Test",
    "upper case with a life of its own": "\u0130ZM\u0130R.\u039f\u0394\u039f\u03a3.\u1e9e#@example.test",
    "blanks around": "  ann.blanks#@example.test  ",
    "lines around": "\r\n\tann.lines#@example.test\n",
    "wide blanks around": "\u3000ann.wide#@example.test\u00a0",
    "international": "\u00fcn\u00ef.\u00e7\u00f8d\u00e9#@ex\u00e4mple.test",
    "international, decomposed": "u\u0308ni#@example.test",
    "international, upper case": "\u0410\u041d\u041d\u0410#@\u041f\u0420\u0418\u041c\u0415\u0420.test",
    "international, Han": "\u7528\u6237#@\u4f8b\u5b50.test",
    "international, right to left": "\u0639\u0645\u0631#@\u0645\u062b\u0627\u0644.test",
    "international, Devanagari": "\u092e\u0940\u0930\u093e#@\u0909\u0926\u093e\u0939\u0930\u0923.test",
    "domain in ASCII form": "puny#@xn--exmple-cua.test",
    "domain with a sharp s": "sharp#@stra\u00dfe.test",
    "emoji": "hello\U0001f44b#@example.test",
    "only digits": "#@12.example.test",
    "leading zeros": "00x#@example.test",
    "dots": "ann..dots.#.@example.test",
    "address literal": "literal#@[192.0.2.1]",
    "subdomains": "sub#@a.b.c.d.e.example.test",
}

ADDRESS_PARTS = (
    "address_line_1",
    "address_line_2",
    "address_city",
    "address_state",
    "address_zip",
    "address_country",
)
MOST_CUSTOM = 150
LONGEST_LOCAL = 64
# 64 before the at sign and 189 behind it: 254 in all, the most that a mail server takes.
LONGEST_DOMAIN = f"{'d' * 46}.{'d' * 44}.{'d' * 44}.{'d' * 44}.example"
EVERY_KIND = max(len(NAMES), len(ADDRESSES), len(EMAILS))


def people(count: int, seed: int) -> Iterator[Person]:
    """Yield `count` people, the same for the same seed.

    No two share an e-mail, also when it is trimmed, lower-cased, and its domain in IDNA's ASCII form.
    """
    chance = random.Random(seed)
    fakers = [Faker(locale) for locale in LOCALES]
    for at, faker in enumerate(fakers):
        faker.seed_instance(f"{seed} {at}")
    for number in range(count):
        person = _ordinary(fakers[number % len(fakers)], chance, number)
        _make_awkward(person, chance, number)
        yield person


def scripts(people: Iterable[Person]) -> set[str]:
    """Return the scripts of the letters in names: the first words of what Unicode calls them, such as GREEK."""
    # Compatible forms first: a full-width or mathematical letter is in no script of its own.
    names = (unicodedata.normalize("NFKC", person.get("name") or "") for person in people)
    letters = {letter for name in names for letter in name if letter.isalpha()}
    called = {unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in letters}
    return called - {"", "MODIFIER"}


def email_of(kind: str, number: int) -> str:
    """Return an e-mail of an awkward kind; the number makes it one of a kind."""
    if kind == "longest":
        return f"{number}".ljust(LONGEST_LOCAL, "l") + "@" + LONGEST_DOMAIN
    return EMAILS[kind].replace("#", str(number))


def _make_awkward(person: Person, chance: random.Random, number: int) -> None:
    """Give the first people one kind after another, and one in ten of the others any kind."""
    if number < len(NAMES) or chance.random() < 0.1:
        name = [*NAMES.values()][number if number < len(NAMES) else chance.randrange(len(NAMES))]
        person["name"] = name
        if name is None:
            del person["name"]
    if number < len(EMAILS) or chance.random() < 0.1:
        kind = [*EMAILS][number] if number < len(EMAILS) else chance.choice([*EMAILS])
        person["email"] = email_of(kind, number)
    if number < len(ADDRESSES) or chance.random() < 0.1:
        part = chance.choice(ADDRESS_PARTS)
        texts = [*ADDRESSES.values()]
        person[part] = texts[number] if number < len(ADDRESSES) else chance.choice(texts)
    if number == 0:
        person.update({f"custom_{n}": f"value {n}" for n in range(1, MOST_CUSTOM + 1)})


def _ordinary(faker: Faker, chance: random.Random, number: int) -> Person:
    """Return a person as there are many; what is optional is there, null, or left out."""
    person: Person = {
        "name": faker.name(),
        "email": f"person.{number}.{chance.randrange(10**6)}@{faker.safe_domain_name()}",
        "subscribed": number % 2 == 0,
        "phone_number": faker.phone_number(),
        "address_line_1": faker.street_address(),
        "address_country": faker.current_country_code(),
    }
    optional = {
        "business_number": faker.phone_number(),
        "address_line_2": f"{chance.randrange(1, 40)}/{chance.randrange(1, 9)}",
        "address_city": faker.city(),
        "address_state": faker.last_name(),
        "address_zip": faker.postcode(),
        "external_user_id": f"crm-{number}",
    }
    for name, value in optional.items():
        how = chance.choice(("given", "given", "null", "absent"))
        if how != "absent":
            person[name] = value if how == "given" else None
    for field in chance.sample(range(1, MOST_CUSTOM + 1), number % 4):
        person[f"custom_{field}"] = chance.choice([faker.last_name(), "", str(number), " two\nlines "])
    return person


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    summary = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(
        description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000, help="how many people")
    parser.add_argument("--seed", type=int, default=7, help="the same seed makes the same people")
    parser.add_argument("--output", metavar="FILE", default="-", help="a file, or - for standard output")
    asked = parser.parse_args()
    if asked.count < 0:
        parser.error("--count cannot be negative")
    return asked


def main() -> None:
    """Write the people that the command line asks for."""
    asked = arguments()
    print(f"seed {asked.seed}\ncount {asked.count}", file=sys.stderr)
    # Bytes, lest the terminal's encoding or line ends get into the file.
    lines = (
        json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in people(asked.count, asked.seed)
    )
    if asked.output == "-":
        sys.stdout.buffer.writelines(lines)
    else:
        with open(asked.output, "wb") as file:
            file.writelines(lines)


if __name__ == "__main__":
    main()
