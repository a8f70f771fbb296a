"""English as people type it, for a text encoder that knows the emoji world's names alone."""

from __future__ import annotations

import random
import string

from ldm.data.emoji import plural, with_article
from pretrain.languages import CLOSE, NUMBERS, OPEN, Meaning, Noun, Thing, maybe, weighted, words

NOUNS = """
dog: puppy, doggy, pup, doggie, hound, pooch, dog
cat: kitten, kitty, pussycat, kitty cat, tomcat, cat, feline
rabbit: bunny, bunny rabbit, hare, rabbit
pig: piglet, piggy, hog, pig
horse: pony, foal, horsey, stallion, mare, horse
cow: calf, dairy cow, cow
ox: bull, ox
ewe: sheep, lamb
ram: ram
mouse: mouse, little mouse
rat: rat
monkey: chimp, chimpanzee, ape, monkey
fox: fox
wolf: wolf
lion: lion
tiger: tiger
bear: brown bear, grizzly, bear, grizzly bear
panda: panda bear, panda
koala: koala bear
llama: alpaca, llama
hippopotamus: hippo
rhinoceros: rhino
sauropod: dinosaur, dino, brontosaurus, brachiosaurus
T-Rex: t rex, tyrannosaurus, trex, tyrannosaurus rex
chicken: hen, chicken
rooster: cock, rooster
baby chick: chick, baby chicken, little chick
bird: sparrow, birdie, bird
dove: pigeon, dove
eagle: hawk, falcon
duck: duckling, ducky, duck
frog: toad, froggy, frog
turtle: tortoise, sea turtle
crocodile: alligator, croc, gator
whale: blue whale, whale
seal: sea lion
fish: fish, fishy
tropical fish: goldfish, tropical fish
blowfish: pufferfish, puffer fish
spiral shell: seashell, shell, conch
bug: caterpillar, bug
honeybee: bee, honey bee, bumblebee
lady beetle: ladybug, ladybird
worm: earthworm
microbe: germ, bacteria, virus
paw prints: paw print, pawprint
bouquet: flower bouquet, bunch of flowers
cherry blossom: sakura, cherry blossoms
lotus: lotus flower, water lily
rose: rose
blossom: flower blossom
seedling: sprout
potted plant: plant pot, houseplant, pot plant
evergreen tree: pine tree, fir tree, pine, conifer
deciduous tree: tree, oak tree, oak
palm tree: palm
herb: grass, herbs
four leaf clover: clover, lucky clover
maple leaf: autumn leaf
fallen leaf: dry leaf, dead leaf
leaf fluttering in wind: leaf, green leaf
mushroom: toadstool
tangerine: mandarin, mandarin orange, clementine
red apple: apple, red apple
green apple: green apple
cherries: cherry
grapes: grape, bunch of grapes
blueberries: blueberry
kiwi fruit: kiwi, kiwifruit
eggplant: aubergine
ear of corn: corn, sweetcorn, maize, corn cob, corn on the cob
hot pepper: chili, chilli, chili pepper, red pepper
bell pepper: capsicum, sweet pepper, paprika
leafy green: lettuce, cabbage, spinach
peanuts: peanut
beans: bean
bread: loaf of bread, loaf, toast
baguette bread: baguette, french bread
pancakes: pancake, stack of pancakes
cheese wedge: cheese, piece of cheese, slice of cheese
meat on bone: meat, ribs
poultry leg: chicken leg, drumstick, fried chicken
cut of meat: steak, beef
hamburger: burger, cheeseburger
french fries: fries, chips, french fry
pizza: slice of pizza, pizza slice
hot dog: hotdog, sausage
cooking: frying pan, fried egg, pan
pot of food: stew, soup
bowl with spoon: cereal, porridge, bowl of cereal
green salad: salad
canned food: tin can, can of food
bento box: bento, lunchbox, lunch box
rice ball: onigiri
cooked rice: rice, bowl of rice
curry rice: curry
steaming bowl: ramen, noodles, noodle soup, noodle, bowl of noodles
spaghetti: pasta
roasted sweet potato: sweet potato, yam
fried shrimp: tempura
dumpling: dumplings, gyoza
takeout box: takeaway box, takeout
shrimp: prawn
soft ice cream: ice cream cone, soft serve
shaved ice: snow cone
doughnut: donut
cookie: biscuit, chocolate chip cookie
birthday cake: cake, birthday cake
shortcake: slice of cake, piece of cake, strawberry cake
cupcake: muffin, fairy cake
chocolate bar: chocolate, bar of chocolate, choc bar
candy: sweet, sweetie, bonbon
lollipop: lolly
custard: pudding, flan
honey pot: honey, jar of honey, pot of honey
glass of milk: milk, cup of milk, glass of milk
hot beverage: coffee, cup of coffee, hot coffee, mug of coffee, hot chocolate, cocoa, latte, espresso, hot drink
teapot: tea pot, kettle
teacup without handle: tea, cup of tea, green tea, teacup, tea cup
sake: rice wine
bottle with popping cork: champagne, bottle of champagne, champagne bottle, bottle of wine, wine bottle
wine glass: wine, glass of wine, red wine
cocktail glass: cocktail, martini
tropical drink: fruit cocktail, pina colada
beer mug: mug of beer, glass of beer, pint, pint of beer
clinking beer mugs: beers, beer, cheers
clinking glasses: champagne glass, champagne glasses
tumbler glass: whisky, whiskey, glass of whisky
cup with straw: soda, cola, juice, lemonade, coke, soft drink
bubble tea: boba, boba tea
beverage box: juice box, juice carton
ice: ice cube
fork and knife with plate: plate
fork and knife: fork, cutlery, knife and fork
kitchen knife: knife, chef knife, carving knife
amphora: vase, urn
globe with meridians: earth, planet earth, globe
world map: map, map of the world
map of Japan: map
snow-capped mountain: snowy mountain
beach with umbrella: beach, seaside
desert island: island
classical building: temple, museum, greek temple
brick: bricks
rock: stone, boulder
wood: log, timber
hut: cottage, cabin
house: home, little house
houses: village
house with garden: house with a garden
office building: skyscraper, office
convenience store: shop, store
castle: fortress, palace
Statue of Liberty: statue of liberty
church: chapel, cathedral
fountain: water fountain
cityscape: city, skyline, town
sunrise over mountains: mountain sunrise
bridge at night: bridge
hot springs: hot spring
carousel horse: carousel, merry go round
playground slide: slide
ferris wheel: big wheel
roller coaster: rollercoaster
circus tent: circus, big top
locomotive: steam train, steam engine, steam locomotive
train: choo choo train, choo choo, railway train
metro: subway, underground, subway train
station: train station, railway station
bus: coach, double decker, school bus
minibus: van
fire engine: fire truck, firetruck
police car: cop car, patrol car
taxi: cab
automobile: car, auto, automobile, vehicle
sport utility vehicle: suv, jeep
pickup truck: pickup, truck
delivery truck: delivery van, lorry
articulated lorry: semi truck, big rig, semi, trailer truck
racing car: race car, formula one car, sports car, f1 car
motorcycle: motorbike, bike with engine
motor scooter: moped, vespa, scooter
bicycle: bike, push bike, cycle
kick scooter: push scooter
roller skate: rollerblade, rollerskate
motorway: highway, road
railway track: railroad, train tracks
fuel pump: gas pump, gas station, petrol pump
wheel: tyre, tire
police car light: siren
vertical traffic light: traffic light, stoplight, traffic lights
ring buoy: lifebuoy, life ring, lifebelt
sailboat: sailing boat, yacht, sail boat
canoe: kayak, rowing boat
passenger ship: cruise ship, liner
motor boat: motorboat
ship: boat
airplane: plane, aeroplane, aircraft, jet
small airplane: little plane, propeller plane
helicopter: chopper
aerial tramway: cable car
rocket: spaceship, rocket ship, spacecraft, space rocket
flying saucer: ufo, alien spaceship
luggage: suitcase, travel bag, baggage
hourglass not done: hourglass, sand timer, sandglass
watch: wristwatch, wrist watch
alarm clock: clock
mantelpiece clock: old clock
full moon: moon
crescent moon: half moon, new crescent
sun with face: smiling sun, happy sun
ringed planet: planet, saturn
glowing star: shining star, sparkling star, shiny star
shooting star: falling star, meteor
milky way: galaxy
tornado: twister, whirlwind
cyclone: hurricane, typhoon
high voltage: lightning, lightning bolt, bolt
fire: flame, flames, campfire
droplet: drop, water drop, drop of water, waterdrop
water wave: wave, ocean wave
jack-o-lantern: pumpkin, halloween pumpkin, jack o lantern
Christmas tree: xmas tree, christmas tree
fireworks: firework
firecracker: dynamite
wrapped gift: gift, present, gift box, wrapped present, birthday present
sports medal: medal
1st place medal: gold medal
2nd place medal: silver medal
3rd place medal: bronze medal
trophy: cup, winners cup
soccer ball: football, ball, soccer
basketball: basket ball
american football: american football
tennis: tennis ball, tennis racket
ping pong: table tennis, ping pong bat
boxing glove: boxing gloves
flag in hole: golf, golf flag
ice skate: ice skates, skate
fishing pole: fishing rod
sled: sledge, toboggan, sleigh
bullseye: target, dartboard, dart board
yo-yo: yoyo
water pistol: water gun, squirt gun, gun, pistol
pool 8 ball: billiard ball, eight ball, 8 ball
magic wand: wand
video game: game controller, gamepad, controller
game die: dice, die
puzzle piece: jigsaw, jigsaw piece, puzzle
teddy bear: teddy, stuffed bear, toy bear
nesting dolls: russian doll, matryoshka
chess pawn: chess piece, pawn
performing arts: mask, theatre masks
framed picture: picture frame, painting
artist palette: palette, paint palette
thread: spool of thread, spool
yarn: ball of yarn, ball of wool, wool
sewing needle: needle
glasses: spectacles, eyeglasses, pair of glasses
sunglasses: shades, pair of sunglasses
necktie: tie
t-shirt: tshirt, shirt, t shirt, tee
jeans: trousers, pants, pair of jeans
gloves: glove, mittens, pair of gloves
socks: sock, pair of socks
coat: jacket, overcoat
dress: gown
one-piece swimsuit: swimsuit, bathing suit
shorts: pair of shorts
woman’s clothes: blouse
purse: wallet
handbag: bag, hand bag
backpack: school bag, rucksack, schoolbag
thong sandal: flip flop, flip flops
man’s shoe: leather shoe, dress shoe
running shoe: sneaker, trainer, shoe, sneakers, shoes
hiking boot: hiking boots
high-heeled shoe: high heel, high heels, stiletto
woman’s sandal: sandal
woman’s boot: boot, boots
woman’s hat: straw hat, ladies hat
top hat: magician hat, hat
billed cap: cap, baseball cap
graduation cap: mortarboard, graduation hat
military helmet: helmet
ring: diamond ring, wedding ring
gem stone: gem, jewel, diamond, gemstone
loudspeaker: loud speaker
musical score: treble clef
musical note: music note
microphone: mic
headphone: headphones, headset
musical keyboard: piano
trumpet: bugle
violin: fiddle
drum: drums
mobile phone: cell phone, smartphone, cellphone, phone, mobile, iphone
telephone: landline, old telephone
telephone receiver: handset
laptop: notebook computer, laptop computer
desktop computer: computer, pc, desktop, monitor
computer mouse: pc mouse
optical disk: cd, compact disc
floppy disk: floppy, diskette
television: tv, telly, tv set
camera: photo camera
video camera: camcorder
magnifying glass tilted left: magnifying glass, magnifier
light bulb: lightbulb, bulb
flashlight: torch
red paper lantern: lantern, paper lantern
closed book: book
books: pile of books, stack of books, some books
notebook: exercise book
scroll: parchment
rolled-up newspaper: rolled newspaper
money bag: bag of money, money, sack of money
dollar banknote: dollar, dollar bill, banknote
credit card: bank card
envelope: letter
e-mail: email
package: parcel, box, cardboard box
postbox: letterbox, letter box
closed mailbox with raised flag: mailbox
pen: ballpoint pen, biro
paintbrush: brush, paint brush
crayon: wax crayon
memo: note
file folder: folder
bar chart: chart, graph
pushpin: drawing pin, thumbtack, pin
paperclip: paper clip
straight ruler: ruler
scissors: pair of scissors
wastebasket: bin, trash can, garbage can
locked: lock, padlock, closed lock
axe: hatchet
pick: pickaxe
crossed swords: swords
dagger: sword
bow and arrow: bow, arrow
carpentry saw: saw, hand saw
wrench: spanner
nut and bolt: bolt, screw
gear: cog, cogwheel
balance scale: scales, scale
chains: chain
toolbox: tool box
satellite antenna: satellite dish
syringe: needle syringe, injection
pill: tablet, medicine, capsule
adhesive bandage: plaster, band aid, bandaid, bandage
couch and lamp: couch, sofa, settee
shower: shower head
bathtub: bath, tub
razor: shaver
lotion bottle: lotion, shampoo
broom: broomstick
roll of paper: toilet paper, toilet roll
bucket: pail
bubbles: soap bubbles, bubble
shopping cart: shopping trolley, trolley
cigarette: smoke
headstone: gravestone, tombstone, grave
identification card: id card, ID, passport card
skull: human skull
pile of poo: poop, poo
clown face: clown
unicorn: unicorn
alien: extraterrestrial
robot: bot
red heart: heart, love heart, red heart
broken heart: heart broken
kiss mark: lips, lipstick kiss
collision: explosion
hole: black hole
smiling face: smiley, smiley face, smile
crying face: sad face
angry face: mad face
octopus: squid monster
snowman: snow man
star: little star
elevator: lift
dragon: dragon
""".strip()

COLOURS = {
    "red": "red, scarlet, crimson, bright red", "orange": "orange", "yellow": "yellow, golden yellow, bright yellow",
    "green": "green, lime, dark green, bright green, light green", "blue": "blue, light blue, dark blue, navy, "
        "sky blue, navy blue, bright blue",
    "purple": "purple, violet, lilac", "pink": "pink, hot pink, light pink, rose pink", "brown": "brown, dark brown",
    "black": "black, pitch black", "white": "white, pure white, snow white",
        "gray": "gray, grey, light grey, dark gray",
    "turquoise": "turquoise, teal, cyan, aqua, mint",
}
STRANGE_COLOURS = words("gold, golden, silver, transparent, beige, striped, rainbow coloured, checkered, bronze, "
    "ivory, magenta neon, glass, see-through, metallic, wooden, plastic, spotted, plaid")
COLOURS["odd"] = ", ".join(f"{OPEN}{word}{CLOSE}" for word in STRANGE_COLOURS)
SIZES = {
    "big": "big, large, huge, giant, enormous, really big, very big, big big, massive, gigantic, great big, so big",
    "small": "small, little, tiny, mini, very small, teeny, teeny tiny, really small, wee, teensy, miniature",
}
FILLERS = words("cute, nice, lovely, pretty, beautiful, happy, sweet, fluffy, simple, delicious, adorable, funny, "
    "cool, fresh, tasty, scary, friendly, new, shiny, single, plain, yummy, "
                "perfect, good, my, our, the famous, realistic, cartoon, fancy, real, whole, baby")
FRAMES = {
    "photo": "photo, photograph, pic, snapshot, photo, foto", "picture": "picture, picture, painting, illustration",
        "drawing": "drawing, sketch, drawing, pencil drawing",
    "emoji": "emoji, emoticon, emoji", "image": "image", "rendering": "rendering, render",
        "close-up": "close-up photo, close-up, closeup, close up, close-up shot",
}
PLACES = (("background", 46), ("backdrop", 5), ("wall", 2), ("rug", 1), ("table", 1), ("carpet", 1), ("tablecloth",
    1), ("blanket", 1), ("floor", 1), ("paper", 1), ("surface", 1),
          ("sheet", 1), ("plate", 1), ("cloth", 1), ("canvas", 1), ("cushion", 1), ("mat", 1), ("towel", 1),
          ("screen", 1), ("bg", 1), ("back ground", 1), ("sofa", .5), ("bed", .5))
ASKS = words("draw, please draw, draw me, can you draw, could you draw, can you draw me, could you please draw, "
    "show me, please show me, show, give me, i want, i want to see, i'd like, i would like, "
             "i would like to see, i need, can i have, can i get, could i have, may i have, could i get, make, "
                 "make me, please make, can you make, could you make, let's have, lets see, let me see, how about, "
                 "what about, "
             "maybe, maybe just, just, paint, paint me, create, generate, please generate, i'd love, put, "
                 "please put, add, do, render me, gimme, hmm maybe, ok, okay, now, then, hey draw, hi can you draw, "
                 ""
             "please can i have, we need, i wanna see, i like, i love, i see, here is, this is, there is, "
                 "there are, it is, look, wow, yeah, no wait, no, actually, so, well, something like, "
             "would you draw, would you please draw, try, try drawing, let's go with, go for, let's try, i think, "
                 "i would love to see, do me, sketch me, please create, want, need, is there, is possible, "
                 "please to draw, i am wanting, "
             "please, hello, hello please draw, can we have, i was thinking, could we get, haha, lol, um, hmm, oh, "
                 "ooh, and now, next, next up, this time, imagine, get me, find me, i search, produce, design")
AFTER = words("please, pls, plz, thanks, thank you, for me, for me please, lol, haha, :), now, if you can, instead, "
    "this time, ok, ok?, !, ., ?, !!, ..., please!, thx, ty, would be nice, would be cute, would be great, "
              "for my kid, xd, hehe, today, again, only, that's all, next, first, please and thank you, cheers, "
                  "asap, quickly, would be cool, or something, i guess, idk, maybe, too, for fun, is what i want, "
                  "yes, here, alone")


def amount(rng: random.Random, n: int) -> str:
    """A number before a noun."""
    if n == 2:
        return weighted(rng, (("two", 60), ("2", 20), ("a pair of", 7), ("a couple of", 7), ("pair of", 3),
            ("couple of", 3)))
    return NUMBERS[n] if rng.random() < 0.75 else str(n)


def many(word: str) -> str:
    """The plural of a noun as people write it."""
    inner = word.strip(OPEN + CLOSE)
    irregular = {"mouse": "mice", "wolf": "wolves", "fish": "fish", "sheep": "sheep", "leaf": "leaves",
        "knife": "knives", "goose": "geese", "foot": "feet", "dice": "dice",
                 "ox": "oxen", "scarf": "scarves", "calf": "calves", "loaf": "loaves", "potato": "potatoes",
                 "tomato": "tomatoes", "mango": "mangoes", "cactus": "cacti"}
    head, _, last = inner.rpartition(" ")
    if " of " in inner or " with " in inner or " in " in inner or " and " in inner:
        first, rest = inner.split(" ", 1)
        new = f"{plural(first)} {rest}"
    elif last in irregular:
        new = f"{head} {irregular[last]}".strip()
    else:
        new = inner if inner.endswith("s") and not inner.endswith("ss") else plural(inner)
    return word.replace(inner, new)


def noun_phrase(rng: random.Random, thing: Thing, noun: Noun) -> str:
    """A thing with its article or number."""
    word = noun(thing, "")
    adjectives = [rng.choice(words(table[key])) for table, key in ((SIZES, thing.size), (COLOURS, thing.tint)) if key]
    if rng.random() < 0.08:
        adjectives.insert(0, rng.choice(FILLERS))
    if thing.number > 1:
        if thing.name and thing.name in "*&":
            word += maybe(rng, 0.4, "s")
        elif rng.random() > 0.04:
            word = many(word)
        return " ".join([amount(rng, thing.number), *adjectives, word])
    phrase = " ".join([*adjectives, word])
    plain = phrase.strip(OPEN + CLOSE)
    if plain.startswith(("my ", "our ", "the ")):
        return phrase
    article = weighted(rng, (("a", 70), ("", 14), ("the", 5), ("one", 7), ("some", 1), ("1", 1), ("my", 2)))
    if article == "a":
        article = with_article(plain).split(" ")[0] if rng.random() < 0.97 else "a"
    return f"{article} {phrase}".strip()


def write(rng: random.Random, meaning: Meaning, noun: Noun, other: Noun) -> str:
    """The meaning in English, with noun(thing, "") for its things and other(...) for some that are not meant."""
    phrases = [noun_phrase(rng, thing, noun) for thing in meaning.things]
    link = weighted(rng, ((" and ", 70), (" with ", 6), (", ", 4), (" & ", 0), (" next to ", 6), (" beside ", 3),
        (" and also ", 2), (" plus ", 3), (" together with ", 2), (" + ", 2), (" near ", 1)))
    text = link.join(phrases)
    if len(meaning.things) == 1 and rng.random() < 0.02:
        wrong = other(Thing("dog"), "")
        text = rng.choice((f"not {with_article(wrong)} but {text}", f"{text} instead of {with_article(wrong)}",
            f"{text}, not {with_article(wrong)}", f"no {wrong}, {text}"))
    if meaning.frame:
        word = rng.choice(words(FRAMES[meaning.frame]))
        text = weighted(rng, ((f"{with_article(word)} of {text}", 60), (f"{word} of {text}", 20), (f"{text} {word}",
            8), (f"{word}: {text}", 2), (f"the {word} of {text}", 3), (f"{word} from {text}", 1), (f"{word} {text}",
            1)))
    tail = ""
    if meaning.ground:
        tone = rng.choice(words(COLOURS[meaning.ground]))
        place = weighted(rng, PLACES)
        place = rng.choice(words({"blue": "sky, water, sea", "green": "grass, field, lawn", "white": "snow",
            "black": "night sky"}.get(meaning.ground, place))) if rng.random() < 0.05 else place
        article = with_article(tone).split()[0]
        tail = weighted(rng, (
            (f" on {article} {tone} {place}", 45), (f" on {tone} {place}", 8), (f" on {tone}", 7),
            (f" with {article} {tone} {place}", 9), (f" against {article} {tone} {place}", 3),
            (f" in front of {article} {tone} {place}", 4),
            (f", {tone} {place}", 8), (f" on the {tone} {place}", 3), (f" over {article} {tone} {place}", 2),
            (f" with {tone} {place}", 3), (f" in {article} {tone} {place}", 1), (f" - {tone} {place}", 2),
            (f" ({tone} {place})", 2),
            (f" {tone} {place}", 3), (f", {article} {tone} {place}", 3), (f" upon {article} {tone} {place}", 1),
            (f" on {tone} coloured {place}", 1), (f" with the {place} {tone}", 1), (f" with {place} {tone}", 1),
            (f" with the {place} in {tone}", 1),
            (f" with {place} of color {tone}", 1), (f" with the {place} of colour {tone}", 1),
            (f" with {place} of {tone}", 1), (f", {place} {tone}", 1), (f" in front of something {tone}", 1),
            (f" is on {article} {tone} {place}", 2),
            (f" sitting on {article} {tone} {place}", 2), (f", make the {place} {tone}", 1),
            (f" and {article} {tone} {place}", 1), (f" against {tone}", 1), (f" at {article} {tone} {place}", 1),
            (f" standing on {article} {tone} {place}", 1)))
        if rng.random() < 0.08:
            text, tail = rng.choice((f"{tone} {place}, ", f"{article} {tone} {place} with ", f"{tone} {place} with ",
                f"on {article} {tone} {place}, ", f"on {article} {tone} {place} ", f"{tone} {place} and ",
                f"on {tone}, ")) + text, ""
    text += tail
    if rng.random() < 0.45:
        text = rng.choice(ASKS) + rng.choice((" ", " ", " ", ", ", "... ")) + text
    if rng.random() < 0.25:
        mark = rng.choice(AFTER)
        text += (rng.choice((" ", " ", ", ")) if mark[0].isalpha() else maybe(rng, 0.2, " ")) + mark
    return text[:1].upper() + text[1:] if rng.random() < 0.3 else text


def misspelt(rng: random.Random, text: str) -> str:
    """The text with a letter wrong, missing, doubled or swapped with the next."""
    places = [i for i, c in enumerate(text) if c.isascii() and c.isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    draw = rng.random()
    if draw < 0.3:
        return text[:i] + text[i + 1 :]
    if draw < 0.5:
        return text[:i] + text[i] + text[i:]
    if draw < 0.7 and i + 1 < len(text) and text[i + 1].isalpha():
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    vowels = "aeiouy"
    new = rng.choice(vowels) if text[i].lower() in vowels and rng.random() < 0.7 else rng.choice(string.ascii_lowercase)
    return text[:i] + (new if draw < 0.85 else text[i] + new) + text[i + 1 :]


def noisy(rng: random.Random, text: str) -> str:
    """The text with the spaces and letters that people leave out or get wrong."""
    if rng.random() < 0.05:
        text = "".join(c for c in text if c != " " or rng.random() > 0.25)
    if rng.random() < 0.2:
        text = misspelt(rng, text)
        text = misspelt(rng, text) if rng.random() < 0.4 else text
    return text.lower() if rng.random() < 0.3 else text
