"""Every text of the reports, in English and German, and how numbers, dates and plurals are written in each.

A text has a key and both languages stand side by side, so that none can be forgotten. What the model floor says of a
film (remarks on its quality, refusals, corrections) is kept in English sentences: `translated` finds them again in
`SENTENCES` and says them in the reader's language. Another language is one more name in `Language`, one more column
in `TEXTS` and `SENTENCES`, and its months.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, tzinfo
from functools import cache
from typing import Literal, NamedTuple, get_args

Language = Literal["en", "de"]
LANGUAGES: dict[Language, str] = {"en": "English", "de": "Deutsch"}
"""Each language by its own name."""


class Text(NamedTuple):
    """One text in every language; what stands in braces is filled in."""

    en: str
    de: str


TEXTS: dict[str, Text] = {
    # --- head and foot of a page
    "report": Text("Reading of a chest X-ray", "Auswertung einer Thorax-Röntgenaufnahme"),
    "reports": Text("Readings of chest X-rays", "Auswertungen von Thorax-Röntgenaufnahmen"),
    "assists": Text(
        "Pneumoscope assists. A professional gives the verdict.",
        "Pneumoscope unterstützt. Den Befund erstellt eine Fachperson.",
    ),
    "made": Text("Report made {when} by {who}", "Bericht erstellt {when} von {who}"),
    "page": Text("Page {page} of {pages}", "Seite {page} von {pages}"),
    # --- one case
    "case": Text("Case {pseudonym}", "Fall {pseudonym}"),
    "read": Text("Read {when} by {who}", "Ausgewertet {when} von {who}"),
    "nobody": Text("somebody not signed in", "jemand ohne Anmeldung"),
    "view": Text("view {view}", "Aufnahmerichtung {view}"),
    "years.one": Text("{count} year old", "{count} Jahr alt"),
    "years.other": Text("{count} years old", "{count} Jahre alt"),
    "female": Text("female", "weiblich"),
    "male": Text("male", "männlich"),
    "other sex": Text("other sex", "anderes Geschlecht"),
    "film": Text("Film", "Aufnahme"),
    "film missing": Text(
        "The film is not kept with this case, so this report shows none.",
        "Zu diesem Fall wird keine Aufnahme aufbewahrt, daher zeigt dieser Bericht keine.",
    ),
    "film unreadable": Text(
        "The film is kept with this case, but could not be shown when this report was made.",
        "Die Aufnahme wird zu diesem Fall aufbewahrt, ließ sich beim Erstellen dieses Berichts aber nicht zeigen.",
    ),
    "heat": Text(
        "What speaks for pneumonia: lines at {levels} of {scale} log-odds",
        "Was für Pneumonie spricht: Linien bei {levels} von {scale} Log-Odds",
    ),
    "heat empty": Text(
        "Heat map: no place on this film speaks for pneumonia.",
        "Wärmekarte: Keine Stelle der Aufnahme spricht für Pneumonie.",
    ),
    "heat without film": Text(
        "A heat map is kept; without the film it cannot be drawn.",
        "Eine Wärmekarte ist vorhanden; ohne die Aufnahme lässt sie sich nicht zeichnen.",
    ),
    "probability": Text("Probability of pneumonia", "Wahrscheinlichkeit einer Pneumonie"),
    "decision": Text("Decision", "Entscheidung"),
    "pneumonia": Text("PNEUMONIA", "PNEUMONIE"),
    "normal": Text("NORMAL", "NORMAL"),
    "cannot tell": Text("CANNOT TELL", "NICHT ENTSCHEIDBAR"),
    "not judged": Text("NOT JUDGED", "NICHT BEURTEILT"),
    "flagged": Text(
        "flagged: the probability is at or above the threshold",
        "markiert: Die Wahrscheinlichkeit erreicht den Schwellenwert",
    ),
    "not flagged": Text(
        "not flagged: the probability is below the threshold",
        "nicht markiert: Die Wahrscheinlichkeit liegt unter dem Schwellenwert",
    ),
    "refused": Text(
        "no film that the network can judge",
        "keine Aufnahme, die das Netz beurteilen kann",
    ),
    "threshold": Text("Threshold", "Schwellenwert"),
    "threshold at a point": Text(
        "{threshold} (operating point “{point}”).", "{threshold} (Arbeitspunkt „{point}“)."
    ),
    "threshold by hand": Text("{threshold} (set by hand).", "{threshold} (von Hand gewählt)."),
    "then": Text(
        "When it was read, the threshold was {threshold}: {decision}.",
        "Bei der Auswertung galt der Schwellenwert {threshold}: {decision}.",
    ),
    "rates": Text(
        "At this threshold {flagged} are flagged, measured on the test set.",
        "Bei diesem Schwellenwert werden {flagged} markiert, gemessen am Testsatz.",
    ),
    "rates lack": Text(" It holds no {missing}.", " Er enthält keine {missing}."),
    "rates of nothing": Text(
        "What this threshold costs and gains is not known: the test set of this version is empty.",
        "Was dieser Schwellenwert kostet und bringt, ist nicht bekannt: Der Testsatz dieser Version ist leer.",
    ),
    "rates unknown": Text(
        "What this threshold costs and gains is not known: this version holds no test predictions.",
        "Was dieser Schwellenwert kostet und bringt, ist nicht bekannt: "
        "Zu dieser Version liegen keine Ergebnisse von Testaufnahmen vor.",
    ),
    "figures": Text("{figures}, with 95 % intervals.", "{figures}, mit 95-%-Intervallen."),
    "sensitivity": Text("sensitivity {value}", "Sensitivität {value}"),
    "specificity": Text("specificity {value}", "Spezifität {value}"),
    "with interval": Text("{value} ({low} to {high})", "{value} ({low} bis {high})"),
    "pneumonias": Text("pneumonias", "Pneumonien"),
    "healthy": Text("healthy children", "gesunden Kinder"),
    "flagged pneumonias": Text("{share} pneumonias", "{share} Pneumonien"),
    "flagged healthy": Text("{share} healthy children", "{share} gesunden Kindern"),
    "of hundred": Text("{count} of 100", "{count} von 100"),
    "nearly all": Text("more than 99 of 100", "mehr als 99 von 100"),
    "nearly none": Text("fewer than 1 of 100", "weniger als 1 von 100"),
    "and": Text(" and ", " und "),
    "certainty": Text("Certainty", "Sicherheit"),
    "sure": Text(
        "{decision}: the network was sure at the error rate asked for.",
        "{decision}: Das Netz war bei der gewählten Fehlerrate sicher.",
    ),
    "unsure": Text(
        "CANNOT TELL: at the error rate asked for it could be either. Read this film carefully.",
        "NICHT ENTSCHEIDBAR: Bei der gewählten Fehlerrate kommt beides in Frage. Diese Aufnahme sorgfältig ansehen.",
    ),
    "record": Text("Please note", "Zu beachten"),
    "not judged because": Text("Not judged: {reason}", "Nicht beurteilt: {reason}"),
    "overruled": Text(
        "Refused at first and read nevertheless, on request: {reason}",
        "Zuerst abgelehnt und auf Wunsch dennoch ausgewertet: {reason}",
    ),
    "corrected": Text(
        "Corrected on request before reading: {corrections}.",
        "Vor der Auswertung auf Wunsch korrigiert: {corrections}.",
    ),
    "quality": Text("Quality of the film", "Bildqualität"),
    "quality fine": Text("No remarks.", "Keine Bemerkungen."),
    "version": Text("Version", "Version"),
    "version of": Text("{version}, of {day}", "{version}, vom {day}"),
    "verdict": Text("Verdict", "Befund"),
    "verdict by": Text("{when}, {who}", "{when}, {who}"),
    "no verdict": Text("No verdict yet.", "Noch kein Befund."),
    "signature": Text("Date, signature", "Datum, Unterschrift"),
    "cut": Text(
        "[shortened: the whole text is kept with the case]", "[gekürzt: Der ganze Text steht beim Fall]"
    ),
    # --- many cases
    "cases.one": Text("{count} case", "{count} Fall"),
    "cases.other": Text("{count} cases", "{count} Fälle"),
    "chosen": Text("Chosen", "Auswahl"),
    "all cases": Text("All cases", "Alle Fälle"),
    "thresholds": Text(
        "All decisions are those at this threshold.",
        "Alle Entscheidungen gelten bei diesem Schwellenwert.",
    ),
    "open": Text("No verdict", "Ohne Befund"),
    "total": Text("Total", "Gesamt"),
    "agreement.one": Text(
        "Of {count} case with a decision and a verdict of pneumonia or normal, the two agree in {agree}.",
        "Bei {count} Fall mit Entscheidung und einem Befund Pneumonie oder Normal stimmen beide in {agree} überein.",
    ),
    "agreement.other": Text(
        "Of {count} cases with a decision and a verdict of pneumonia or normal, the two agree in {agree}.",
        "Bei {count} Fällen mit Entscheidung und einem Befund Pneumonie oder Normal stimmen beide in {agree} überein.",
    ),
    "column case": Text("Case", "Fall"),
    "column read": Text("Read", "Ausgewertet"),
    "column probability": Text("Probability", "Wahrsch."),
    "column page": Text("Page", "Seite"),
    # --- what cases were chosen by
    "chosen decision": Text("Decision: {word}", "Entscheidung: {word}"),
    "chosen verdict": Text("Verdict: {word}", "Befund: {word}"),
    "chosen open": Text("Verdict: none yet", "Befund: noch keiner"),
    "chosen given": Text("Verdict: given", "Befund: liegt vor"),
    "chosen since": Text("First read from {day} on", "Zuerst ausgewertet ab {day}"),
    "chosen until": Text("First read until {day}", "Zuerst ausgewertet bis {day}"),
    "chosen person": Text("Read or judged by {who}", "Ausgewertet oder befundet von {who}"),
    "chosen version": Text("Version {version}", "Version {version}"),
    "chosen unsure": Text("The network could not tell", "Für das Netz nicht entscheidbar"),
    "chosen part": Text("Name of the case contains {part}", "Name des Falls enthält {part}"),
    # --- corrections that were done on request
    "inverted": Text("inverted", "invertiert"),
    "turned right": Text("turned by 90° to the right", "um 90° nach rechts gedreht"),
    "turned over": Text("turned by 180°", "um 180° gedreht"),
    "turned left": Text("turned by 90° to the left", "um 90° nach links gedreht"),
    "cropped": Text("cropped", "zugeschnitten"),
}

_EXPOSURE = Text(
    "check the exposure or the window it was exported with.",
    "Belichtung oder Fenster beim Export prüfen.",
)
_OTHERWISE = Text("choose the X-ray itself.", "die Röntgenaufnahme selbst wählen.")

SENTENCES: tuple[Text, ...] = (
    # --- model.quality
    Text(
        "A colour picture, though X-rays are grey: check that the right file was chosen.",
        "Ein farbiges Bild, obwohl Röntgenaufnahmen grau sind: prüfen, ob es die richtige Datei ist.",
    ),
    Text(
        "The picture has only {width} x {height} pixels: "
        "use the original file rather than a thumbnail (at least {side} a side).",
        "Das Bild hat nur {width} x {height} Bildpunkte: "
        "die Originaldatei statt eines Vorschaubilds nehmen (mindestens {side} je Seite).",
    ),
    Text(
        "The picture of {width} x {height} pixels has an unusual shape for a chest film: "
        "check that the whole chest is on it and nothing else.",
        "Das Bild von {width} x {height} Bildpunkten hat eine ungewöhnliche Form für eine Thoraxaufnahme: "
        "prüfen, ob der ganze Thorax darauf ist und sonst nichts.",
    ),
    Text(f"The film is very dark: {_EXPOSURE.en}", f"Die Aufnahme ist sehr dunkel: {_EXPOSURE.de}"),
    Text(f"The film is very bright: {_EXPOSURE.en}", f"Die Aufnahme ist sehr hell: {_EXPOSURE.de}"),
    Text(f"The film has little contrast: {_EXPOSURE.en}", f"Die Aufnahme hat wenig Kontrast: {_EXPOSURE.de}"),
    Text(
        "Parts of the film are pure black or pure white and show nothing any more: check the window it was exported "
        "with.",
        "Teile der Aufnahme sind rein schwarz oder rein weiß und zeigen nichts mehr: das Fenster beim Export prüfen.",
    ),
    Text(
        "The film looks blurred: use the original file, or check whether the child moved.",
        "Die Aufnahme wirkt unscharf: die Originaldatei nehmen oder prüfen, ob sich das Kind bewegt hat.",
    ),
    Text(
        "Plain borders take {share}% of the picture: crop it to the film.",
        "Leere Ränder nehmen {share} % des Bildes ein: auf die Aufnahme zuschneiden.",
    ),
    Text(
        "The film looks inverted: export it again with white bones on black air, or invert it here.",
        "Die Aufnahme wirkt invertiert: mit weißen Knochen auf schwarzer Luft neu exportieren oder hier invertieren.",
    ),
    Text(
        "The film looks upside down: turn it upright.",
        "Die Aufnahme scheint auf dem Kopf zu stehen: aufrecht drehen.",
    ),
    Text(
        "The film looks turned on its side: turn it by a quarter to the right.",
        "Die Aufnahme scheint auf der Seite zu liegen: um eine Vierteldrehung nach rechts drehen.",
    ),
    Text(
        "The film looks turned on its side: turn it by a quarter to the left.",
        "Die Aufnahme scheint auf der Seite zu liegen: um eine Vierteldrehung nach links drehen.",
    ),
    Text(
        "The file says view {view}, and the network knows films from the front (PA, AP) only: "
        "the probability does not hold.",
        "Laut Datei ist die Aufnahmerichtung {view}, und das Netz kennt nur Aufnahmen von vorn oder hinten (PA, AP): "
        "Die Wahrscheinlichkeit gilt nicht.",
    ),
    Text(
        "The patient's age is {age}, and the network was trained on children of one to five years: "
        "read this film without it.",
        "Das Alter ist {age}, und das Netz wurde an Kindern von einem bis fünf Jahren trainiert: "
        "diese Aufnahme ohne das Netz befunden.",
    ),
    Text(
        "Read through a window set by hand: {window}.",
        "Durch ein von Hand gewähltes Fenster ausgewertet: {window}.",
    ),
    Text(
        "The file holds {frames} frames and frame {frame} was read: check that it is the film meant.",
        "Die Datei enthält {frames} Bilder, ausgewertet wurde Bild {frame}: prüfen, ob es die gemeinte Aufnahme ist.",
    ),
    Text(
        "The file says that text is burned into the picture: it may name the patient, so do not pass it on.",
        "Laut Datei ist Text in das Bild eingebrannt: Er kann den Namen enthalten, daher nicht weitergeben.",
    ),
    # --- model.domain
    Text(
        f"This is a colour picture, and X-rays are grey: {_OTHERWISE.en}",
        f"Dies ist ein farbiges Bild, und Röntgenaufnahmen sind grau: {_OTHERWISE.de}",
    ),
    Text(
        f"The picture is almost blank: {_OTHERWISE.en}",
        f"Das Bild ist fast leer: {_OTHERWISE.de}",
    ),
    Text(
        "The film looks inverted, dark bones on white air: invert it before it is judged.",
        "Die Aufnahme wirkt invertiert, dunkle Knochen auf weißer Luft: vor der Beurteilung invertieren.",
    ),
    Text(
        "The film looks turned on its side: turn it upright before it is judged.",
        "Die Aufnahme scheint auf der Seite zu liegen: vor der Beurteilung aufrecht drehen.",
    ),
    Text(
        "The film looks upside down: turn it upright before it is judged.",
        "Die Aufnahme scheint auf dem Kopf zu stehen: vor der Beurteilung aufrecht drehen.",
    ),
    Text(
        f"Much of this picture is one even shade, as in a drawing or a document: {_OTHERWISE.en}",
        f"Ein großer Teil des Bildes hat einen einzigen Ton, wie eine Zeichnung oder ein Dokument: {_OTHERWISE.de}",
    ),
    Text(
        f"This picture is all edges or grain, as no X-ray is: {_OTHERWISE.en}",
        f"Dieses Bild besteht nur aus Kanten oder Körnern, wie keine Röntgenaufnahme: {_OTHERWISE.de}",
    ),
    Text(
        "This does not look like a frontal chest X-ray: light and dark do not lie where a chest has them.",
        "Dies sieht nicht nach einer Thoraxaufnahme von vorn aus: Hell und Dunkel liegen nicht wie bei einem Thorax.",
    ),
    Text(
        "The network was trained on nothing like this picture: check that it is a frontal chest X-ray.",
        "Das Netz wurde an nichts Ähnlichem trainiert: prüfen, ob es eine Thoraxaufnahme von vorn ist.",
    ),
)
"""What `model.quality` and `model.domain` say of a film; the English is theirs, word for word."""

_MONTHS: dict[Language, str] = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
}
_DAY: dict[Language, str] = {"en": "{day} {month} {year}", "de": "{day}. {month} {year}"}
_TIME: dict[Language, str] = {"en": "{day}, {time} {zone}", "de": "{day}, {time} Uhr {zone}"}
_SHORT: dict[Language, str] = {"en": "%d/%m/%Y %H:%M", "de": "%d.%m.%Y %H:%M"}
_DECIMAL: dict[Language, str] = {"en": ".", "de": ","}
_THOUSANDS: dict[Language, str] = {"en": ",", "de": "."}
_FIXED = "\N{NO-BREAK SPACE}"
"""Between a number and what belongs to it."""


def text(key: str, language: Language, **values: object) -> str:
    """The text of a key with its values filled in.

    Raises:
        KeyError: there is no such key, or a value is missing.
    """
    template: str = getattr(TEXTS[key], language)
    return template.format(**values)


def plural(key: str, count: int, language: Language, **values: object) -> str:
    """The text of `key` that goes with a count, which it may name as ``{count}``.

    English and German alike have one form for 1 and another for all else.
    """
    form = "one" if count == 1 else "other"
    return text(f"{key}.{form}", language, count=whole(count, language), **values)


def translated(sentence: str, language: Language) -> str:
    """A sentence of the model floor in another language; one that nobody knows, such as an older version's, stays."""
    for pattern, other in _patterns(language):
        found = pattern.fullmatch(sentence)
        if found:
            return other.format(**found.groupdict())
    return sentence


@cache
def _patterns(language: Language) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((_pattern(sentence.en), getattr(sentence, language)) for sentence in SENTENCES)


def _pattern(template: str) -> re.Pattern[str]:
    """What matches a template with anything in its braces."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(template)))


def placeholders(template: str) -> frozenset[str]:
    """The names in a template's braces."""
    return frozenset(re.findall(r"{(\w+)}", template))


def whole(count: int, language: Language) -> str:
    """A whole number: "12,345" or "12.345"."""
    return f"{count:,}".replace(",", _THOUSANDS[language])


def decimal(number: str, language: Language) -> str:
    """A number written with a decimal point and no thousands, with the language's mark."""
    return number.replace(".", _DECIMAL[language])


def percent(share: float, language: Language, *, digits: int = 1) -> str:
    """A share in [0, 1]: "97.4 %" or "97,4 %"."""
    return f"{decimal(f'{share * 100:.{digits}f}', language)}{_FIXED}%"


def day(when: date, language: Language) -> str:
    """A day: "21 November 2026" or "21. November 2026"."""
    month = _MONTHS[language].split()[when.month - 1]
    return _DAY[language].format(day=when.day, month=month, year=when.year)


def moment(when: datetime, language: Language, *, zone: tzinfo | None = UTC) -> str:
    """Day, time and zone of a moment: "21 November 2026, 14:07 UTC" or "21. November 2026, 14:07 Uhr UTC".

    Args:
        when: with its zone.
        zone: to tell it in; None: the server's own.
    """
    there = when.astimezone(zone)
    name = there.tzname() or ""
    if not name.isalpha():  # where a zone has no letters of its own
        offset = there.strftime("%z")
        name = f"UTC{offset[:3]}:{offset[3:5]}"
    template = _TIME[language].replace(" {zone}", f"{_FIXED}{{zone}}")
    return template.format(day=day(there, language), time=f"{there:%H:%M}", zone=name)


def short_moment(when: datetime, language: Language, *, zone: tzinfo | None = UTC) -> str:
    """Day and time in digits, for a column of a table: "21/11/2026 14:07" or "21.11.2026 14:07"."""
    return when.astimezone(zone).strftime(_SHORT[language])


def listed(words: Sequence[str], language: Language) -> str:
    """Words after one another: "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])}{text('and', language)}{words[-1]}"


def known(language: str | None) -> Language:
    """A language by its code, as a setting or a browser has it ("de", "de-AT"); English where it is none of ours."""
    code = (language or "").split("-")[0].lower()
    return next((name for name in get_args(Language) if name == code), "en")
