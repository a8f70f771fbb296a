"""Spanish as people type it."""

from __future__ import annotations

import random

from pretrain.languages import CLOSE, OPEN, Meaning, Noun, Thing, weighted, words
from pretrain.languages.en import misspelt

NOUNS = """
dog: perro, perrito, cachorro, perra, chucho
cat: gato, gatito, minino, gata
monkey: mono, monito
fox: zorro
wolf: lobo
lion: león
tiger: tigre
horse: caballo, potro, caballito
unicorn: unicornio
cow: vaca, ternero
ox: buey, toro
pig: cerdo, cerdito, puerco, cochino
ewe: oveja, ovejita
goat: cabra
camel: camello
elephant: elefante
giraffe: jirafa
mouse: ratón, ratoncito
rat: rata
rabbit: conejo, conejito, liebre
chipmunk: ardilla
bear: oso, oso pardo
panda: panda, oso panda
koala: koala
hippopotamus: hipopótamo
rhinoceros: rinoceronte
kangaroo: canguro
raccoon: mapache
hedgehog: erizo
bat: murciélago
sauropod: dinosaurio, brontosaurio
T-Rex: tiranosaurio
chicken: gallina
rooster: gallo
baby chick: pollito
bird: pájaro, pajarito, ave
dove: paloma
eagle: águila
owl: búho, lechuza
duck: pato, patito
swan: cisne
penguin: pingüino
flamingo: flamenco
parrot: loro
frog: rana, sapo
turtle: tortuga
crocodile: cocodrilo, caimán
lizard: lagarto
snake: serpiente, culebra
dragon: dragón
whale: ballena
dolphin: delfín
seal: foca
fish: pez, pescado, pececito
shark: tiburón
octopus: pulpo
spiral shell: concha, caracola
snail: caracol
butterfly: mariposa
bug: oruga, bicho
ant: hormiga
honeybee: abeja
lady beetle: mariquita
spider: araña
crab: cangrejo
bouquet: ramo de flores
cherry blossom: flor de cerezo
rose: rosa
sunflower: girasol
tulip: tulipán
potted plant: maceta
evergreen tree: pino, abeto
deciduous tree: árbol
palm tree: palmera
cactus: cactus
herb: hierba
four leaf clover: trébol
maple leaf: hoja de arce
leaf fluttering in wind: hoja
mushroom: seta, champiñón, hongo
grapes: uvas, uva
watermelon: sandía
tangerine: mandarina, naranja
lemon: limón
banana: plátano, banana
pineapple: piña
red apple: manzana, manzana roja
green apple: manzana verde
pear: pera
peach: melocotón, durazno
cherries: cerezas, cereza
strawberry: fresa
kiwi fruit: kiwi
tomato: tomate
avocado: aguacate
eggplant: berenjena
potato: patata, papa
carrot: zanahoria
ear of corn: maíz, mazorca
hot pepper: chile, guindilla
bell pepper: pimiento
cucumber: pepino
leafy green: lechuga
broccoli: brócoli
garlic: ajo
onion: cebolla
bread: pan
croissant: cruasán
cheese wedge: queso
meat on bone: carne
poultry leg: muslo de pollo, pollo frito, pollo
bacon: beicon
hamburger: hamburguesa
french fries: patatas fritas, papas fritas
pizza: pizza
hot dog: perrito caliente
sandwich: bocadillo, sándwich
egg: huevo
green salad: ensalada
cooked rice: arroz, bol de arroz
steaming bowl: ramen, fideos, sopa de fideos
spaghetti: espaguetis, pasta
shrimp: gamba, camarón
ice cream: helado
soft ice cream: cono de helado
doughnut: dónut, rosquilla, dona
cookie: galleta
birthday cake: tarta de cumpleaños, pastel, tarta
cupcake: magdalena
chocolate bar: chocolate, tableta de chocolate
candy: caramelo
lollipop: piruleta
honey pot: miel
glass of milk: vaso de leche, leche
hot beverage: café, taza de café, chocolate caliente
teapot: tetera
teacup without handle: té, taza de té
bottle with popping cork: champán, botella de vino
wine glass: vino, copa de vino
cocktail glass: cóctel
clinking beer mugs: cervezas, cerveza
cup with straw: refresco, zumo
spoon: cuchara
fork and knife: tenedor
kitchen knife: cuchillo
world map: mapa, mapamundi, mapa del mundo
mountain: montaña
volcano: volcán
beach with umbrella: playa
desert: desierto
house: casa, casita
hospital: hospital
hotel: hotel
school: escuela
castle: castillo
church: iglesia
fountain: fuente
bridge at night: puente
carousel horse: tiovivo, carrusel
playground slide: tobogán
tent: tienda de campaña
train: tren, trenecito
locomotive: locomotora, tren de vapor
metro: metro
station: estación, estación de tren
bus: autobús, bus
ambulance: ambulancia
fire engine: camión de bomberos
police car: coche de policía
taxi: taxi
automobile: coche, carro, auto
pickup truck: camioneta, camión
tractor: tractor
racing car: coche de carreras, deportivo
motorcycle: moto, motocicleta
bicycle: bicicleta, bici
bus stop: parada de autobús
wheel: rueda
vertical traffic light: semáforo
anchor: ancla
sailboat: velero
ship: barco
airplane: avión
helicopter: helicóptero
rocket: cohete, nave espacial
flying saucer: platillo volante, ovni
luggage: maleta
watch: reloj, reloj de pulsera
alarm clock: despertador
full moon: luna, luna llena
crescent moon: media luna
sun: sol
star: estrella
glowing star: estrella brillante
cloud: nube
umbrella: paraguas, sombrilla
snowflake: copo de nieve
snowman: muñeco de nieve
fire: fuego, llama
droplet: gota
rainbow: arcoíris
jack-o-lantern: calabaza
Christmas tree: árbol de Navidad
fireworks: fuegos artificiales
balloon: globo
ribbon: lazo
wrapped gift: regalo
ticket: entrada, billete
trophy: trofeo
soccer ball: balón, pelota, balón de fútbol
basketball: balón de baloncesto
kite: cometa
game die: dado
puzzle piece: rompecabezas
teddy bear: osito de peluche, oso de peluche
glasses: gafas
sunglasses: gafas de sol
necktie: corbata
t-shirt: camiseta
jeans: vaqueros, pantalones
scarf: bufanda
socks: calcetines, calcetín
dress: vestido
purse: monedero
handbag: bolso
backpack: mochila
running shoe: zapatilla, zapato
high-heeled shoe: tacón
woman’s boot: bota
crown: corona
top hat: sombrero
billed cap: gorra
lipstick: pintalabios
ring: anillo
gem stone: diamante, joya
bell: campana
musical note: nota musical
microphone: micrófono
headphone: auriculares
guitar: guitarra
musical keyboard: piano
trumpet: trompeta
violin: violín
drum: tambor
mobile phone: móvil, teléfono móvil, celular
telephone: teléfono
laptop: portátil, ordenador portátil
desktop computer: ordenador, computadora
television: televisión, tele, televisor
camera: cámara, cámara de fotos
candle: vela
light bulb: bombilla
open book: libro abierto
closed book: libro
newspaper: periódico
coin: moneda
envelope: carta, sobre
package: paquete, caja
pencil: lápiz
pen: bolígrafo
scissors: tijeras
key: llave
hammer: martillo
axe: hacha
bomb: bomba
shield: escudo
carpentry saw: sierra
screwdriver: destornillador
gear: engranaje
magnet: imán
ladder: escalera
microscope: microscopio
telescope: telescopio
door: puerta
window: ventana
bed: cama
couch and lamp: sofá
chair: silla
toilet: váter
bathtub: bañera
broom: escoba
basket: cesta
soap: jabón
toothbrush: cepillo de dientes
skull: calavera
ghost: fantasma
alien: extraterrestre
robot: robot
clown face: payaso
red heart: corazón, corazón rojo
identification card: documento de identidad
shopping cart: carrito
""".strip()

# masculine, feminine, masculine plural, feminine plural
COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("rojo", "roja"), "orange": ("naranja", "naranja"), "yellow": ("amarillo", "amarilla"), "green": ("verde",
        "verde"), "blue": ("azul", "azul"), "purple": ("morado, violeta, lila", "morada, violeta, lila"),
    "pink": ("rosa, rosado", "rosa, rosada"), "brown": ("marrón, café", "marrón, café"), "black": ("negro", "negra"),
        "white": ("blanco", "blanca"), "gray": ("gris", "gris"),
    "turquoise": ("turquesa", "turquesa"),
}
STRANGE_COLOURS = words("dorado, plateado, transparente, beige, a rayas, de cristal, de madera, metálico")
COLOURS["odd"] = (", ".join(f"{OPEN}{word}{CLOSE}" for word in STRANGE_COLOURS),) * 2
SIZES = {"big": ("grande, muy grande, enorme, bien grande, gigante", "gran, enorme"),
    "small": ("pequeño, muy pequeño, chiquito, diminuto", "pequeño, mini")}
FRAMES = {"photo": "foto, fotografía, foto", "picture": "dibujo, ilustración, cuadro, dibujito",
    "drawing": "boceto, esbozo", "emoji": "emoji, emoticono", "image": "imagen",
          "rendering": "renderizado", "close-up": "primer plano"}
NUMBERS = ("", "un", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez")
ASKS = words("dibuja, dibújame, puedes dibujar, podrías dibujar, quiero, quiero ver, quisiera, me gustaría, "
    "me gustaría ver, hazme, haz, pon, ponme, píntame, pinta, enséñame, muéstrame, muestra, necesito, dame, crea, "
    "genera, "
             "por favor dibuja, ahora, mejor, y, pues, qué tal, hola, hola dibuja, a ver, me apetece, solo, "
                 "solamente, oye, bueno, vale, tengo, hay, aquí hay, mira, me encanta, veo, es, esto es, me das, "
                 "puede ser, vamos con, "
             "me haces, me pintas, me puedes hacer, se puede, el, la, mi, ¿puedes dibujar, ¿me dibujas, "
                 "¿podrías hacer, ¿hay, ¿tienes, otra vez, ahora con, quiero que dibujes, imagina, busco, añade, "
                 "otro")
AFTER = words("por favor, porfa, gracias, jaja, jajaja, y ya, solo, solo una, solo uno, juntos, !, ., ?, ..., :), "
    "xd, si puedes, vale?, ok?, para mí, para mi hijo, ahora, hoy, y nada más, muy bonito, que sea bonito, bonito, "
    "plis, "
              "venga, sin más, eh, rápido, de una vez, si no es molestia, otra vez, en el centro, mil gracias, anda")
FILLERS = words("bonito, lindo, precioso, simpático, feliz, gracioso, rico, nuevo, bueno, tierno, famoso, adorable")


def many(word: str) -> str:
    """The plural of a noun: the first word's, and those of adjectives behind it are left to who types them."""
    head, _, rest = word.partition(" ")
    accents = str.maketrans("áéíóú", "aeiou")
    if head.endswith("s"):
        new = head if head[-2:-1] not in "áéíóú" else head.translate(accents) + "es"
    elif head[-1:] in "aeiouéáó":
        new = head + "s"
    elif head.endswith("z"):
        new = head[:-1] + "ces"
    else:
        new = (head[:-2] + head[-2:].translate(accents)) + "es"
    return f"{new} {rest}".strip()


def feminine(word: str) -> bool:
    """Whether a noun is feminine, by its ending."""
    head = word.strip(OPEN + CLOSE).split(" ")[0]
    return head.endswith(("a", "as", "ción", "dad")) or head in ("flor", "nube", "llave", "moto", "foto", "leche",
        "nave", "nieve")


def agree(adjective: str, several: bool, gender: bool) -> str:
    """An adjective in the form that a noun asks for."""
    if OPEN in adjective:
        return adjective
    if gender and adjective.endswith("o"):
        adjective = adjective[:-1] + "a"
    if several and adjective not in ("naranja", "rosa", "turquesa", "violeta", "lila", "café", "mini", "gran"):
        adjective = adjective + ("s" if adjective[-1] in "aeiou" else "es").replace("ó", "o")
    return adjective


def noun_phrase(rng: random.Random, thing: Thing, noun: Noun) -> str:
    """A thing with its article or number; adjectives follow it."""
    word = noun(thing, "")
    several, gender = thing.number > 1, feminine(word)
    learned = bool(thing.name) and thing.name in "*&"
    if several and not learned and rng.random() < 0.95:
        word = word.replace(word.strip(OPEN + CLOSE), many(word.strip(OPEN + CLOSE)))
    before, after = [], []
    if thing.size:
        late, early = SIZES[thing.size]
        if rng.random() < 0.8:
            after.append(agree(rng.choice(words(late)), several, gender))
        else:
            before.append(agree(rng.choice(words(early)), several, gender))
    if thing.tint:
        after.append(agree(rng.choice(words(COLOURS[thing.tint][0])), several, gender) if rng.random() < 0.85
                     else "de color " + rng.choice(words(COLOURS[thing.tint][0])))
    if rng.random() < 0.07:
        after.insert(0, agree(rng.choice(FILLERS), several, gender))
    rng.random() < 0.2 and rng.shuffle(after)
    if several:
        article = NUMBERS[thing.number] if rng.random() < 0.8 else str(thing.number)
    else:
        article = weighted(rng, (("una" if gender else "un", 72), ("", 16), ("la" if gender else "el", 7), ("mi", 2),
            ("1", 1), ("una" if not gender else "un", 2)))
    return " ".join(filter(None, [article, *before, word, *after]))


def write(rng: random.Random, meaning: Meaning, noun: Noun, other: Noun) -> str:
    """The meaning in Spanish, with noun(thing, "") for its things and other(...) for some that are not meant."""
    link = weighted(rng, ((" y ", 75), (" con ", 10), (" junto a ", 4), (", ", 4), (" al lado de ", 3),
        (" y también ", 2), (" más ", 1), (" + ", 1)))
    text = link.join(noun_phrase(rng, thing, noun) for thing in meaning.things)
    if len(meaning.things) == 1 and rng.random() < 0.015:
        wrong = other(Thing("dog"), "")
        text = f"no {wrong} sino {text}" if rng.random() < 0.5 else f"{text} en vez de {wrong}"
    if meaning.frame:
        word = rng.choice(words(FRAMES[meaning.frame]))
        text = weighted(rng, ((f"{'una' if feminine(word) or word == 'imagen' else 'un'} {word} de {text}", 60),
            (f"{word} de {text}", 35), (f"{word}: {text}", 3), (f"la {word} de {text}", 2)))
    if meaning.ground:
        masculine, _ = COLOURS[meaning.ground]
        tone = rng.choice(words(masculine))
        feminine_tone = agree(tone, False, True)
        place = weighted(rng, ((f"fondo {tone}", 70), (f"fondo de color {tone}", 5), (f"pared {feminine_tone}", 2),
            (f"mesa {feminine_tone}", 2), (f"alfombra {feminine_tone}", 2), (f"papel {tone}", 1), (f"mantel {tone}",
            1), (f"tela {feminine_tone}", 1), (f"cielo {tone}", 1)))
        article = "una" if place.split()[0] in ("pared", "mesa", "alfombra", "tela") else "un"
        tail = weighted(rng, ((f" sobre {article} {place}", 18), (f" sobre {place}", 18), (f" en {article} {place}",
            18), (f" en {place}", 8), (f" con {place}", 12), (f" con {article} {place}", 6), (f", {place}", 10),
            (f" {place}", 5), (f" con el {place}", 3),
                              (f" delante de {article} {place}", 3), (f" encima de {article} {place}", 2),
                              (f" ({place})", 1), (f" - {place}", 1), (f" frente a {article} {place}", 1),
                              (f", y el fondo {tone}", 1), (f" y {place}", 1), (f" está en {article} {place}", 2)))
        text = rng.choice((f"{place} y {text}", f"{place}, {text}", f"{place} con {text}",
            f"en {article} {place}, {text}", f"con {place}, {text}",
            f"sobre {place} {text}")) if rng.random() < 0.12 else text + tail
    if rng.random() < 0.45:
        text = rng.choice(ASKS) + rng.choice((" ", " ", " ", ", ")) + text
        text += "?" if text.startswith("¿") else ""
    if rng.random() < 0.25:
        mark = rng.choice(AFTER)
        text += rng.choice((" ", ", ")) + mark if mark[0].isalpha() else mark
    return text[:1].upper() + text[1:] if rng.random() < 0.3 else text


def noisy(rng: random.Random, text: str) -> str:
    """The text with the accents, spaces and letters that people leave out or get wrong."""
    if rng.random() < 0.2:
        text = text.translate(str.maketrans("áéíóúüñ", "aeiouun"))
    if rng.random() < 0.03:
        text = "".join(c for c in text if c != " " or rng.random() > 0.25)
    if rng.random() < 0.08:
        old, new = rng.choice((("z", "s"), ("v", "b"), ("b", "v"), ("ll", "y"), ("h", ""), ("c", "s"), ("j", "g"),
            ("qu", "k")))
        text = text.replace(old, new)
    if rng.random() < 0.14:
        text = misspelt(rng, text)
    return text.lower() if rng.random() < 0.4 else text
