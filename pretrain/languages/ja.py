"""Japanese as people type it."""

from __future__ import annotations

import random

from pretrain.languages import CLOSE, OPEN, Meaning, Noun, Thing, maybe, weighted, words

# "茶@杯" only with that counter.
NOUNS = """
dog: 犬, いぬ, イヌ, わんわん, ワンちゃん, 子犬, わんちゃん
cat: 猫, ねこ, ネコ, にゃんこ, 子猫, ニャンコ
monkey: 猿, サル, さる, おさるさん
fox: 狐, キツネ, きつね
wolf: 狼, オオカミ
lion: ライオン
tiger: 虎, トラ
horse: 馬, うま, お馬さん
unicorn: ユニコーン
cow: 牛, うし, 乳牛
pig: 豚, ぶた, ブタ, 子豚
ewe: 羊, ヒツジ, ひつじ
goat: ヤギ, 山羊
camel: ラクダ
elephant: 象, ゾウ, ぞう, ぞうさん
giraffe: キリン, きりん, きりんさん
mouse: ハツカネズミ
rat: ネズミ, ねずみ
rabbit: うさぎ, ウサギ, 兎, うさぎさん
bear: 熊, クマ, くま, くまさん
panda: パンダ
koala: コアラ
hippopotamus: カバ
rhinoceros: サイ
kangaroo: カンガルー
chicken: 鶏, にわとり
baby chick: ひよこ, ヒヨコ
bird: 鳥, とり, 小鳥
dove: 鳩, ハト
eagle: 鷲, ワシ
owl: フクロウ, ふくろう, 梟
duck: 鴨, アヒル, あひる
swan: 白鳥
penguin: ペンギン
flamingo: フラミンゴ
parrot: オウム, インコ
frog: カエル, かえる, 蛙
turtle: 亀, カメ, かめ
crocodile: ワニ, わに
lizard: トカゲ
snake: 蛇, ヘビ, へび
dragon: 竜, ドラゴン, 龍
sauropod: 恐竜, きょうりゅう
T-Rex: ティラノサウルス
whale: クジラ, 鯨, くじら
dolphin: イルカ
fish: 魚, さかな, お魚
shark: サメ, 鮫
octopus: タコ, たこ, 蛸
spiral shell: 貝, 貝殻
snail: カタツムリ, かたつむり
butterfly: 蝶, ちょうちょ, チョウ
ant: 蟻, アリ
honeybee: 蜂, ハチ, ミツバチ
lady beetle: てんとう虫, テントウムシ
spider: 蜘蛛, クモ
crab: カニ, 蟹, かに
bouquet: 花束
cherry blossom: 桜, さくら
rose: 薔薇, バラ, ばら
sunflower: ひまわり, 向日葵
tulip: チューリップ
evergreen tree: 松, 杉
deciduous tree: 木, 樹
palm tree: ヤシの木
cactus: サボテン
maple leaf: もみじ, 紅葉
leaf fluttering in wind: 葉っぱ, 葉
mushroom: きのこ, キノコ
grapes: ぶどう, ブドウ, 葡萄
watermelon: スイカ, すいか
tangerine: みかん, オレンジ
lemon: レモン
banana: バナナ
pineapple: パイナップル
red apple: りんご, リンゴ, 林檎, 赤いりんご
green apple: 青りんご, 青リンゴ
pear: 梨, 洋梨
peach: 桃, もも
cherries: さくらんぼ, サクランボ
strawberry: いちご, イチゴ, 苺
tomato: トマト
eggplant: なす, ナス, 茄子
potato: じゃがいも, ジャガイモ
carrot: にんじん, ニンジン, 人参
ear of corn: とうもろこし, トウモロコシ
hot pepper: 唐辛子
cucumber: きゅうり
onion: 玉ねぎ, たまねぎ
garlic: にんにく
bread: パン, 食パン
cheese wedge: チーズ
meat on bone: 肉, お肉
poultry leg: チキン, フライドチキン
hamburger: ハンバーガー
french fries: フライドポテト, ポテト
pizza: ピザ
sandwich: サンドイッチ
egg: 卵, たまご, 玉子
green salad: サラダ
cooked rice: ご飯, ごはん, 白米
rice ball: おにぎり
curry rice: カレー, カレーライス
steaming bowl: ラーメン, うどん, そば
spaghetti: スパゲッティ, パスタ
sushi: 寿司, お寿司, すし
shrimp: エビ, 海老
ice cream: アイスクリーム, アイス
doughnut: ドーナツ
cookie: クッキー
birthday cake: 誕生日ケーキ, バースデーケーキ, ケーキ
shortcake: ショートケーキ
cupcake: カップケーキ
chocolate bar: チョコレート, チョコ
candy: 飴, キャンディ, あめ
lollipop: ペロペロキャンディ
custard: プリン
honey pot: 蜂蜜, はちみつ
glass of milk: 牛乳, ミルク
hot beverage: コーヒー, 珈琲
teapot: 急須, ティーポット
teacup without handle: お茶, 緑茶, 茶
sake: 日本酒, お酒, 酒
wine glass: ワイン
clinking beer mugs: ビール, 乾杯のビール
cup with straw: ジュース, コーラ
spoon: スプーン
fork and knife: フォーク
kitchen knife: 包丁, ナイフ
world map: 世界地図, 地図
mountain: 山
mount fuji: 富士山
volcano: 火山
beach with umbrella: ビーチ, 海辺
house: 家, いえ, おうち
hospital: 病院
hotel: ホテル
school: 学校
castle: 西洋の城
Japanese castle: 城, お城
church: 教会
fountain: 噴水
bridge at night: 橋
tent: テント
train: 電車, 列車
locomotive: 汽車, 機関車, 蒸気機関車
bullet train: 新幹線
metro: 地下鉄
station: 駅
bus: バス
ambulance: 救急車
fire engine: 消防車
police car: パトカー
taxi: タクシー
automobile: 車, くるま, 自動車
pickup truck: トラック
tractor: トラクター
racing car: レーシングカー
motorcycle: バイク, オートバイ
bicycle: 自転車
bus stop: バス停
wheel: タイヤ, 車輪
vertical traffic light: 信号, 信号機
anchor: 錨
sailboat: ヨット, 帆船
ship: 船, ふね
airplane: 飛行機, ひこうき
helicopter: ヘリコプター
rocket: ロケット, 宇宙船
flying saucer: 空飛ぶ円盤, UFO
luggage: スーツケース
watch: 腕時計, 時計
alarm clock: 目覚まし時計
full moon: 満月, 月
crescent moon: 三日月
full moon face: お月様, お月さま
sun: 太陽
sun with face: お日様, おひさま
star: 星, ほし
glowing star: きらきら星, 光る星
cloud: 雲
umbrella: 傘, かさ
snowflake: 雪, 雪の結晶
snowman: 雪だるま, ゆきだるま
fire: 火, 炎
droplet: 水滴, 水
rainbow: 虹, にじ
jack-o-lantern: かぼちゃ, ハロウィンかぼちゃ, かぼちゃのランタン
Christmas tree: クリスマスツリー
fireworks: 花火
balloon: 風船, ふうせん
ribbon: リボン
wrapped gift: プレゼント, 贈り物
ticket: チケット, 切符
trophy: トロフィー
soccer ball: サッカーボール, ボール
baseball: 野球ボール, 野球
basketball: バスケットボール
kite: 凧, たこあげ
game die: サイコロ
teddy bear: テディベア, くまのぬいぐるみ, ぬいぐるみ
glasses: 眼鏡, メガネ, めがね
sunglasses: サングラス
necktie: ネクタイ
t-shirt: Tシャツ, シャツ
jeans: ジーンズ, ズボン
socks: 靴下, くつした
dress: ワンピース, ドレス
purse: 財布
handbag: バッグ, 鞄, かばん
backpack: ランドセル, リュック
running shoe: 靴, くつ, スニーカー
woman’s boot: ブーツ
crown: 王冠
top hat: シルクハット
billed cap: 帽子, ぼうし
lipstick: 口紅
ring: 指輪
gem stone: 宝石, ダイヤモンド
bell: 鐘, ベル
musical note: 音符
microphone: マイク
headphone: ヘッドホン
guitar: ギター
musical keyboard: ピアノ
trumpet: トランペット, ラッパ
violin: バイオリン
drum: 太鼓, ドラム
mobile phone: スマホ, 携帯, 携帯電話, スマートフォン, ケータイ
telephone: 電話
laptop: ノートパソコン, ノートPC
desktop computer: パソコン, コンピューター
television: テレビ
camera: カメラ
candle: ろうそく, ロウソク
light bulb: 電球
closed book: 本, 閉じた本
open book: 開いた本
newspaper: 新聞
coin: 硬貨, コイン
envelope: 手紙, 封筒
package: 荷物, 箱
pencil: 鉛筆, えんぴつ
pen: ペン
scissors: はさみ, ハサミ
key: 鍵, カギ
hammer: ハンマー, 金槌
axe: 斧
bomb: 爆弾
shield: 盾
carpentry saw: のこぎり
screwdriver: ドライバー
gear: 歯車
magnet: 磁石
ladder: はしご
microscope: 顕微鏡
telescope: 望遠鏡
door: ドア, 扉
window: 窓
bed: ベッド
couch and lamp: ソファ, ソファー
chair: 椅子, いす
toilet: トイレ, 便器
bathtub: お風呂, 浴槽
broom: ほうき
basket: かご
soap: 石鹸, せっけん
toothbrush: 歯ブラシ
skull: ドクロ, 骸骨, がいこつ
ghost: お化け, おばけ, 幽霊
alien: 宇宙人
robot: ロボット
clown face: ピエロ
red heart: ハート, 赤いハート
identification card: 身分証
""".strip()

# adjectives before a noun | nouns
COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("赤い, あかい, 赤色の, 真っ赤な", "赤, 赤色, レッド"), "orange": ("オレンジの, オレンジ色の, 橙色の",
        "オレンジ, オレンジ色"), "yellow": ("黄色い, きいろい, 黄色の", "黄色, 黄, きいろ"),
    "green": ("緑の, 緑色の, みどりの, グリーンの", "緑, 緑色, みどり, グリーン"),
        "blue": ("青い, あおい, 青色の, 水色の, 真っ青な", "青, 青色, 水色, ブルー"),
        "purple": ("紫の, 紫色の, むらさきの", "紫, 紫色, むらさき"),
    "pink": ("ピンクの, ピンク色の, 桃色の", "ピンク, ピンク色"), "brown": ("茶色い, 茶色の", "茶色"),
        "black": ("黒い, くろい, 黒の, 真っ黒な", "黒, 黒色, ブラック"), "white": ("白い, しろい, 白の, 真っ白な",
        "白, 白色, ホワイト"),
    "gray": ("灰色の, グレーの, ねずみ色の", "灰色, グレー"),
        "turquoise": ("ターコイズの, 青緑の, ターコイズブルーの", "ターコイズ, 青緑"),
}
STRANGE_COLOURS = words("金色の, 銀色の, 透明な, ベージュの, 虹色の, しましまの, 水玉の, 木製の")
COLOURS["odd"] = tuple(", ".join(f"{OPEN}{word[:-1]}{CLOSE}{ending}" for word in STRANGE_COLOURS) for ending in ("の",
    ""))
SIZES = {"big": ("大きな, 大きい, おおきい, おおきな, 巨大な, とても大きい, でっかい, でかい", "大きく, でっかく"),
    "small": ("小さな, 小さい, ちいさい, "
    "ちいさな, ちっちゃい, とても小さい, ミニ", "小さく, ちいさく")}
COUNTERS = {
    "mammal": "匹, 頭, ひき", "bird": "羽, 匹", "amphibian": "匹", "reptile": "匹", "marine": "匹", "bug": "匹",
        "flower": "本, 輪", "ground": "台", "air": "機, 台", "water": "隻", "drink": "杯", "fruit": "個, つ, こ",
        "paper": "冊, 枚",
    "clothing": "着, 枚", "building": "軒", "computer": "台", "phone": "台", "writing": "本", "prepared": "個, 皿",
        "asian": "個, 杯, 皿", "money": "枚", "cat": "匹", "monkey": "匹", "dishware": "本", "instrument": "台, 本",
}
COUNTERS_OF = {"banana": "本, 個", "carrot": "本", "deciduous tree": "本", "socks": "足", "running shoe": "足",
    "umbrella": "本", "pencil": "本", "ticket": "枚", "closed book": "冊", "open book": "冊",
        "clinking beer mugs": "杯, 本", "cucumber": "本",
               "pizza": "枚, つ", "key": "本, 個"}
KANJI = ("", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十")
TSU = ("", "一つ", "二つ", "三つ", "四つ", "五つ", "六つ", "七つ", "八つ", "九つ", "十")
HIRA = ("", "ひとつ", "ふたつ", "みっつ", "よっつ", "いつつ", "むっつ", "ななつ", "やっつ", "ここのつ", "とお")
FRAMES = {"photo": "写真, 写真, フォト", "picture": "絵, 絵, イラスト", "drawing": "スケッチ, デッサン",
    "emoji": "絵文字", "image": "画像, イメージ", "rendering": "レンダリング",
        "close-up": "アップ写真, クローズアップ, クローズアップ写真"}
PLACES = (("背景", 60), ("バックグラウンド", 1), ("壁", 2), ("紙", 1), ("テーブル", 1), ("床", 1), ("じゅうたん", 1),
    ("布", 1), ("バック", 2), ("地", .5), ("空", 1))
ASKS = words("描いて, 描いて, 描いてください, 描いてください, 描いてくれる？, 描いてくれますか, 描いてほしい, "
    "描いてほしいです, 描いてね, 描いてよ, 描こう, かいて, かいてください, 書いて, 見せて, 見せてください, 置いて, "
    "置いてください, 作って, 作ってください, "
             "つくって, ください, くださぃ, ちょうだい, お願い, お願いします, お願いいたします, 出して, 入れて, "
                 "入れてください, 生成して, 表示して, 頼む, 頼みます, よろしく, 欲しい, 欲しいです, ほしい, 見たい, "
                 "見たいです, いただけますか, もらえますか, 描いていただけますか, "
             "描いてもらえますか, 描いてみて, 描ける？, 描けますか, がいい, がいいです, がいいな, でお願い, "
                 "でお願いします, でよろしく, とか？, とかどう？, はどう, はどうですか, にして, にしてください, ね, "
                 "です, だよ, がいる, がいます, がある, があります, がいるよ, がいい人, "
             "好き, が好き, が見たい, が食べたい, を食べたいから描いて, 一丁, を追加, を足して, が必要, が必要です")
BEFORE = words("えっと, あの, うーん, とりあえず, やっぱり, じゃあ, 今度は, 次は, ねえ, すみません, ママ, パパ, "
    "ぼくの, 私は, あ, では, まず, もう一度, はい, さっきの, 今日は, 簡単に, シンプルに, こんにちは, ちょっと, "
    "できれば")
AFTER = words("！, 。, ？, 〜, ♪, w, 笑, です, よろしく, ありがとう, お願い, ね, よ, ！！, …, (笑), だけ, かわいく, "
    "きれいに, 早く, 今すぐ, だけで, 並べて, 一緒に")
FILLERS = words("かわいい, 可愛い, きれいな, おいしい, 美味しい, 素敵な, かっこいい, 怖い, 楽しい, 元気な, 普通の, "
    "新しい, ふわふわの, ぼくの, 私の, うちの, その, この, あの, 赤ちゃんの")


def counted(rng: random.Random, thing: Thing) -> tuple[str, str]:
    """(how many, the counter)."""
    unit = rng.choice(words(COUNTERS_OF.get(thing.name) or COUNTERS.get(thing.kind, "個, つ, こ")))
    n = thing.number
    if unit == "つ" or rng.random() < 0.15:
        return rng.choice((TSU[n], TSU[n], HIRA[n], f"{n}つ")), "つ"
    unit = "個" if rng.random() < 0.1 else unit
    return f"{KANJI[n] if rng.random() < 0.55 else n}{unit}", unit


def colour(rng: random.Random, name: str) -> str:
    """A colour before a noun."""
    adjectives, nouns = COLOURS[name]
    return rng.choice(words(adjectives)) if rng.random() < 0.85 else rng.choice(words(nouns)) + rng.choice(("の",
        "の", ""))


def noun_phrase(rng: random.Random, thing: Thing, noun: Noun) -> tuple[str, str]:
    """(phrase, the number that is said behind its particle)."""
    many = thing.number > 1 or rng.random() < 0.2
    amount, unit = counted(rng, thing) if many else ("", "")
    word = noun(thing, unit)
    before = ([rng.choice(words(SIZES[thing.size][0]))] if thing.size else []) + ([colour(rng, thing.tint)]
        if thing.tint else [])
    if rng.random() < 0.08:
        before.insert(0, rng.choice(FILLERS))
    rng.random() < 0.2 and rng.shuffle(before)
    head = "".join(before) + word
    if not many:
        return head, ""
    return weighted(rng, (((f"{head}{amount}", ""), 30), ((f"{amount}の{head}", ""), 25), ((head, amount), 40),
        ((f"{head} {amount}", ""), 5)))


def write(rng: random.Random, meaning: Meaning, noun: Noun, other: Noun) -> str:
    """The meaning in Japanese, with noun(thing, counter) for its things and other(...) for some that are not meant."""
    parts = [noun_phrase(rng, thing, noun) for thing in meaning.things]
    late = parts[-1][1] if len(parts) == 1 and not meaning.frame else ""
    phrases = [head if i == len(parts) - 1 and late else (f"{amount}の{head}" if amount else head) for i, (head,
        amount) in enumerate(parts)]
    text = phrases[0]
    for phrase in phrases[1:]:
        text += weighted(rng, (("と", 75), ("とか", 1), ("、", 6), ("と一緒に", 2), ("と一緒の", 2), ("の隣の", 2),
            ("とそれから", 1), ("＋", 1), ("に", 1), ("や", 1), ("そして", 1))) + phrase
    if len(parts) == 1 and rng.random() < 0.02:
        text = other(meaning.things[0], "") + rng.choice(("じゃなくて", "ではなく", "の代わりに", "より")) + text
    if meaning.frame:
        text += rng.choice(("の", "の", "の", "")) + rng.choice(words(FRAMES[meaning.frame]))
    link = ""
    if late:
        link = weighted(rng, (("を", 60), ("が", 15), ("", 10), ("は", 5), ("、", 10)))
    spoken = f"{text}{link}{late}"
    if meaning.ground:
        tone, nouns = colour(rng, meaning.ground), words(COLOURS[meaning.ground][1])
        place = weighted(rng, PLACES)
        scene = f"{tone}{place}"
        where = weighted(rng, (("に", 30), ("の", 25), ("の上に", 6), ("の上の", 6), ("で", 12), ("の前に", 4),
            ("の前の", 4), ("、", 8), (" ", 2), ("にいる", 2), ("にある", 2), ("には", 1), ("上の", 1)))
        draw = rng.random()
        if draw < 0.6:
            spoken = f"{scene}{where}{spoken}"
        elif draw < 0.75:
            tint = rng.choice(nouns)
            spoken = rng.choice((f"背景は{tint}で、{spoken}", f"背景は{tint}で{spoken}", f"背景は{tint}、{spoken}",
                f"背景を{tint}にして{spoken}", f"背景が{tint}の{spoken}", f"背景{tint}で{spoken}",
                f"背景は{tint}にして、{spoken}"))
        elif draw < 0.88:
            mark = weighted(rng, (("を", 40), ("、", 25), ("は", 8), ("が", 10), (" ", 5), ("", 3)))
            behind = rng.choice(("に", "で", "の上に", "の前に", "に", ""))
            spoken = f"{text}{mark}{scene}{behind}{late}"
        else:
            spoken = f"{spoken}{rng.choice(('、', '、', ' ', '。', '（'))}{scene}{rng.choice(('', '', 'で', 'です'))}"
    if rng.random() < 0.55:
        ask = rng.choice(ASKS)
        spoken += maybe(rng, 0.55, "を") + ask if not late and ask[0] not in "がでをとはにね" else ask
    if rng.random() < 0.12:
        spoken = rng.choice(BEFORE) + rng.choice(("、", "", " ")) + spoken
    if rng.random() < 0.15:
        spoken += rng.choice(AFTER)
    return spoken


WRONG = dict(zip("いえおうあかきくけこさしすせそたちつてとはひふへほアイウエオカキクケコシツソンク",
    "ぃぇぉぅぁがぎぐげござじずぜぞだぢっでどばびぶべぼァィゥェォガギグゲゴツシンソワ", strict=True))


def misspelt(rng: random.Random, text: str) -> str:
    """The text with a letter that is small, voiced or another's look-alike."""
    places = [i for i, c in enumerate(text) if c in WRONG]
    if not places:
        return text
    i = rng.choice(places)
    return text[:i] + WRONG[text[i]] + text[i + 1 :]


def noisy(rng: random.Random, text: str) -> str:
    """The text with the letters that people get wrong, spaces where there are none, and full-width signs."""
    if rng.random() < 0.08:
        text = "".join(c + maybe(rng, 0.12, " ") for c in text)
    if rng.random() < 0.08:
        text = text.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    return misspelt(rng, text) if rng.random() < 0.08 else text
