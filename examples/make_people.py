"""Makes invented people in many scripts, with every awkward kind of name, address and e-mail.

    python examples/make_people.py --count 5000 --seed 7 --output people.jsonl

Each line of the output is a JSON object with the attributes of one contact. The same seed makes the same people.
"""

import argparse
import json
import random
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from faker import Faker

Person = dict[str, Any]

# One locale for each script or manner of names.
LOCALES = (
    "en_US", "pt_PT", "de_DE", "fr_FR", "es_MX", "pl_PL", "tr_TR", "vi_VN",  # Latin
    "ru_RU", "uk_UA", "bg_BG",  # Cyrillic
    "el_GR", "ar_AA", "fa_IR", "he_IL", "hi_IN", "bn_BD", "ta_IN", "th_TH",
    "ka_GE", "hy_AM", "zh_CN", "zh_TW", "ja_JP", "ko_KR", "ne_NP",
)  # fmt: skip

# Names in scripts that the locales lack.
MORE_NAMES = (
    "ಅನನ್ಯ ರಾವ್", "അഞ്ജലി മേനോൻ", "అనిత రెడ్డి", "ગીતા પટેલ", "ਗੁਰਪ੍ਰੀਤ ਕੌਰ", "සුනිල් පෙරේරා", "မေသန္တာ",
    "សុខា ចាន់", "ທອງຄໍາ ພົມມະ", "አበበ በቂላ", "བསྟན་འཛིན", "ᏣᎳᎩ ᎠᏓᏅᏖ", "ߞߊ߲ߕߍ߫ ߛߏ߯", "ɦɐnə ŋwɛ",
)  # fmt: skip

LONGEST_LOCAL = 64
LONGEST_EMAIL = 254

AWKWARD_NAMES = (
    "Zoe\u0308 A\u030angstro\u0308m", "Zo\u00eb \u00c5ngstr\u00f6m", "Z\u0351\u036b\u0343a\u0308l\u0363\u0368go",
    "\u202bשלום\u202c World", "عمر (Omar)", "\u200fמירי\u200e Smith", "👩‍👩‍👧‍👦 Family", "🏳️‍🌈 José 🇵🇹", "Anna\u200bMaria",
    "O'Brien-\"Mac\" d’Arcy", " Leading Blank", "Trailing Blank ", "\tTab\tTab\t", "Line\nBreak", "Carriage\r\nReturn",
    "null", "0", "123456", "true", "NaN", "X", "Ж", "<script>alert(1)</script>", "Robert'); DROP TABLE contacts;--",
    "back\\slash \\u0041 \\n", "%s %d {0} ${x}", "../../etc/passwd", "İıIi ß ẞ ſ", "ﬁnance ﷺ ①", "\ufeffBom",
    "\u00a0No Break\u00a0", "ＦＵＬＬ Ｗｉｄｔｈ", "Jos\u00e9 " * 400, "\x7f\x1b[31mred\x1b[0m", "\ue000 private \U000f0000",
)  # fmt: skip

AWKWARD_ADDRESSES = (
    "Flat 1\n12 High Street\nNear \"The Crown\"", " 12 Elm ", "", "Straße des 17. Juni 135", "〒100-0001 東京都千代田区",
    "c/o O'Neil, 5\t½ Road", "٣ شارع النيل", "#7; DROP", "1/2 & 3 <b>bold</b>", "0012", "\u2028line\u2029paragraph",
)  # fmt: skip


def awkward_emails(number: int) -> list[str]:
    """Return e-mails of every awkward kind, made unique by a number."""
    longest_local = f"{number}".ljust(LONGEST_LOCAL, "l")
    room = LONGEST_EMAIL - LONGEST_LOCAL - len("@.example")
    labels = ".".join(["d" * 59] * (room // 60)) + "." + "e" * (room % 60)
    return [
        f"{longest_local}@{labels}.example"[:LONGEST_EMAIL],
        f"plus+tag{number}@example.test",
        f"plus+two+{number}@example.test",
        f"o'brien.{number}@example.test",
        f'"quoted@sign.{number}"@example.test',
        f"UPPER.Case.{number}@EXAMPLE.Test",
        f"  blanks.{number}@example.test \n",
        f"ünï.çødé.{number}@exämple.test",
        f"用户{number}@例子.test",
        f"почта{number}@пример.test",
        f"!#$%&'*/=?^_`{{|}}~{number}@example.test",
        f"{number}@[192.0.2.1]",
        f"dots..{number}.@example.test",
        f"emoji👋{number}@example.test",
        f"{number}-_-@sub.sub.sub.example.test",
    ]


def people(count: int, seed: int) -> Iterator[Person]:
    """Yield `count` people, the same for the same seed; among the first are all the awkward ones.

    No two have the same e-mail when trimmed and lower-cased.
    """
    chance = random.Random(seed)
    fakers = [Faker(locale) for locale in LOCALES]
    for at, faker in enumerate(fakers):
        faker.seed_instance(seed + at)
    awkward = awkward_emails(1)
    for number in range(count):
        person = _ordinary(fakers[number % len(fakers)], chance, number)
        if number < len(AWKWARD_NAMES):
            person["name"] = AWKWARD_NAMES[number]
        elif number < len(AWKWARD_NAMES) + len(MORE_NAMES):
            person["name"] = MORE_NAMES[number - len(AWKWARD_NAMES)]
        elif number % 97 == 0:
            person["name"] = ""
        elif number % 89 == 0:
            del person["name"]
        if number < len(awkward):
            person["email"] = awkward[number]
        elif number % 13 == 0:
            person["email"] = awkward_emails(number)[number // 13 % len(awkward)]
        if number % 7 == 0:
            person["address_line_2"] = AWKWARD_ADDRESSES[number // 7 % len(AWKWARD_ADDRESSES)]
        yield person


def scripts(of_people: Iterable[Person]) -> set[str]:
    """Return the scripts that the names are written in, by the first word of their letters' Unicode names."""
    letters = {letter for person in of_people for letter in person.get("name", "") if letter.isalpha()}
    names = (unicodedata.name(letter, "").split() for letter in letters)
    return {words[0].partition("-")[0] for words in names if words}


def _ordinary(faker: Faker, chance: random.Random, number: int) -> Person:
    person: Person = {
        "name": faker.name(),
        "email": f"person.{number}.{chance.randrange(10**6)}@{faker.safe_domain_name()}",
        "address_line_1": faker.street_address(),
        "address_city": _if_any(faker, "city"),
        "address_country": faker.current_country_code() if number % 2 else _if_any(faker, "country"),
        "address_zip": _if_any(faker, "postcode"),
        "phone_number": faker.phone_number(),
        "subscribed": chance.random() < 0.5,
    }
    if number % 3 == 0:
        person["business_number"] = chance.choice([faker.phone_number(), "", None])
    if number % 5 == 0:
        person["address_state"] = None
        person["external_user_id"] = f"crm-{number}"
    for handle in chance.sample(range(1, 151), number % 4):
        person[f"custom_{handle}"] = chance.choice([faker.word(), "", str(number), AWKWARD_NAMES[number % 7]])
    return person


def _if_any(faker: Faker, what: str) -> str | None:
    provider: Callable[[], str] | None = getattr(faker, what, None)
    return None if provider is None else provider()


def main() -> None:
    """Write the people that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000, help="how many people (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=7, help="the same seed makes the same people (default %(default)s)"
    )
    parser.add_argument("--output", default="-", help="a file, or - for standard output (default)")
    asked = parser.parse_args()
    print(f"seed {asked.seed}\ncount {asked.count}", file=sys.stderr)
    out = sys.stdout if asked.output == "-" else open(asked.output, "w", encoding="utf-8")  # noqa: SIM115
    with out:
        for person in people(asked.count, asked.seed):
            out.write(json.dumps(person, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
