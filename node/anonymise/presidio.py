"""The planted set through Microsoft Presidio: recall, precision and F2 per kind, as the test of `shoal` prints them.

    SHOAL_PLANTED=planted.jsonl cargo test -p shoal-node anonymise -- --nocapture
    pip install presidio-analyzer
    python node/anonymise/presidio.py planted.jsonl [spaCy model]

Without a spaCy model Presidio's recognisers of patterns run on blank pipelines, and names and places are not found at all.
All texts go through the recognisers of English; the national ones of other countries are added to them.
"""

import json
import sys
import time
from collections import defaultdict

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer import predefined_recognizers as known
from presidio_analyzer.nlp_engine import SpacyNlpEngine

# The list of public suffixes that the package brings; nothing is fetched.
tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())

# Presidio's entities as kinds of ours. It has none for postal addresses, keys and credentials: LOCATION and URL are the
# nearest, and are counted as found where they cover an item, but never as wrong.
KINDS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IP_ADDRESS": "ip",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card",
    "PERSON": "name",
    "LOCATION": "address",
    "URL": "credentials",
}
LENIENT = {"address", "credentials"}
NATIONAL = (
    "US_SSN US_ITIN UK_NINO UK_NHS DE_TAX_ID DE_SOCIAL_SECURITY FR_NIR ES_NIF ES_NIE IT_FISCAL_CODE PL_PESEL "
    "FI_PERSONAL_IDENTITY_CODE SE_PERSONNUMMER BR_CPF IN_AADHAAR CH_AHV BE_NATIONAL_REGISTER"
).split()
KINDS.update({entity: "national_id" for entity in NATIONAL})
# Where a number is taken for one of these it is protected as well.
RECOGNISERS = (
    "UsSsnRecognizer UsItinRecognizer NhsRecognizer UkNinoRecognizer EsNifRecognizer EsNieRecognizer "
    "ItFiscalCodeRecognizer PlPeselRecognizer FiPersonalIdentityCodeRecognizer InAadhaarRecognizer "
    "DeTaxIdRecognizer DeSocialSecurityRecognizer SePersonnummerRecognizer"
).split()
REGIONS = ["US", "GB", "DE", "FR", "ES", "IT", "NL", "CH", "AT", "SE", "PL", "IN", "BR", "AU", "JP", "CN"]


class Loaded(SpacyNlpEngine):
    """A pipeline that is already there."""

    def __init__(self, nlp):
        super().__init__()
        self.nlp = {"en": nlp}


def analyzer(model):
    registry = RecognizerRegistry(supported_languages=["en"])
    nlp = spacy.load(model) if model else spacy.blank("en")
    engine = Loaded(nlp)
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    present = {recognizer.name for recognizer in registry.recognizers}
    added = []
    for name in RECOGNISERS:
        kind = getattr(known, name, None)
        if kind and name not in present:
            registry.add_recognizer(kind(supported_language="en"))
            added.append(name)
    registry.remove_recognizer("PhoneRecognizer")
    registry.add_recognizer(known.PhoneRecognizer(supported_regions=REGIONS))
    print("recognisers added:", ", ".join(added) or "none")
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


def covered(text, item, spans):
    places = [i for i in range(item["start"], item["end"]) if text[i].isalnum()]
    return all(any(start <= i < end for start, end in spans) for i in places)


def touches(span, item):
    return span[0] < item["end"] and item["start"] < span[1]


def main():
    path, model = sys.argv[1], (sys.argv + [None])[2]
    engine = analyzer(model)
    found, planted, right, findings, touched = (defaultdict(int) for _ in range(5))
    size, begun = 0, time.process_time()
    for line in open(path, encoding="utf-8"):
        document = json.loads(line)
        text = document["text"]
        size += len(text.encode())
        spans = defaultdict(list)
        for result in engine.analyze(text, language="en"):
            kind = KINDS.get(result.entity_type)
            if kind:
                spans[kind].append((result.start, result.end))
        items = defaultdict(list)
        for item in document["items"]:
            items[item["kind"]].append(item)
        for kind in set(spans) | set(items):
            planted[kind] += len(items[kind])
            found[kind] += sum(covered(text, item, spans[kind]) for item in items[kind])
            touched[kind] += sum(any(touches(span, item) for span in spans[kind]) for item in items[kind])
            hits = [span for span in spans[kind] if any(touches(span, item) for item in items[kind])]
            right[kind] += len(hits)
            findings[kind] += len(hits) if kind in LENIENT else len(spans[kind])
    seconds = time.process_time() - begun
    print(f"spaCy model: {model or 'none (blank)'}")
    print("kind          items  recall  precision  F2     (recall of items at least touched)")
    for kind in sorted(planted):
        recall = found[kind] / max(planted[kind], 1)
        precision = right[kind] / max(findings[kind], 1)
        f2 = 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0
        share = touched[kind] / max(planted[kind], 1)
        print(f"{kind:12} {planted[kind]:6}  {recall:.3f}   {precision:.3f}      {f2:.3f}  {share:.3f}")
    print(f"{size / 1e6 / seconds:.3f} MB a CPU second")


if __name__ == "__main__":
    main()
