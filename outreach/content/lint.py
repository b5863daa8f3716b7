"""Does a text say how to be left alone? For the check of first messages; what people answer is read by compliance."""

import re

#: Words by which a text offers a way out. STOP counts in capitals only: "we stop by your booth" offers nothing.
_STOP = re.compile(r"\b(?:STOP|STOPP|ARRET|ARRÊT|BAJA|FERMA|SAIR)\b")
_WORDS = re.compile(
    r"unsubscrib|\bopt(?:ing)?[ -]?out\b"  # English
    r"|\babmeld|\babbestell"  # German
    r"|désabonn|désinscri|desabonn|desinscri"  # French
    r"|darse de baja|cancelar (?:la )?suscripci"  # Spanish
    r"|cancelar (?:a )?(?:inscrição|subscrição|assinatura)|descadastr"  # Portuguese
    r"|disiscri|annulla(?:re)? l['’]iscrizione"  # Italian
    r"|\bafmeld|uitschrijv"  # Dutch
    r"|\bavregistrer|\bavmeld|\bafmeld|\bavprenumerer"  # Scandinavian
    r"|wypisz|wypisać|zrezygnować z subskrypcji"  # Polish
    r"|отписаться|отпишитесь|відписатися"  # Russian, Ukrainian
    r"|配信停止|退订|退訂|수신 ?거부",  # Japanese, Chinese, Korean
    re.IGNORECASE,
)


def names_a_way_out(text: str) -> bool:
    """Is there a word in the text by which its reader can ask to be left alone?"""
    return _STOP.search(text) is not None or _WORDS.search(text) is not None
