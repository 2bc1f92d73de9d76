//! The sentences: a plot is a list of beats, a beat a list of ways to say it, an empty one leaves it out.

/// Ways to say one thing.
type Beat = &'static [&'static str];

pub(super) const OPENINGS: Beat = &[
    "Once upon a time, there was a little {a_kind} named {a}.",
    "Once there was {an_a_kind} named {a} who lived near the {place}.",
    "In a small house by the {place} lived a little {a_kind}. {A_his} name was {a}.",
    "One {weather} day, a {a_kind} named {a} went to the {place}.",
    "Long ago, {an_a_kind} named {a} lived with {a_his} {elder}.",
    "There once was a {a_kind}. {A_his} name was {a}, and {a_he} was very {quality}.",
];

pub(super) const TRAITS: Beat = &[
    "",
    "{A} was {quality} and liked to play {at_place}.",
    "Everyone said that {a} was {quality}.",
    "{A_he} loved {food} more than anything.",
    "{A_his} best friend was {a_b_kind} named {b}.",
    "Every morning, {a_he} walked to the {place} with {a_his} {elder}.",
];

pub(super) const ENDINGS: Beat = &[
    "From that day on, {a} and {b} were best friends.",
    "That night, {a} slept well and dreamed of the {place}.",
    "They all went home and ate {food}. The end.",
    "{A} never forgot that day.",
    "And they lived happily ever after.",
    "{A} smiled. It was the best day of all.",
];

/// The plots.
pub(super) const PLOTS: &[&[Beat]] =
    &[LOST, SHARED, AFRAID, STORM, RACE, BAKING, SECRET, BROKEN, RIVER, BIRD, BOAST, GIFT];

const LOST: &[Beat] = &[
    &[
        "{A} had {a_full_thing}.",
        "{A_his} {elder} gave {a_him} {a_full_thing}.",
        "{A} always carried {a_full_thing}.",
    ],
    &[
        "One day, the {thing} was gone.",
        "But one {weather} morning, {a} could not find the {thing}.",
        "Then {a_he} lost the {thing} {at_place}.",
    ],
    &[
        "{A} was {sad}.",
        "{A_he} looked everywhere and began to cry.",
        "\"Where is my {thing}?\" {a_he} asked.",
    ],
    &[
        "{B} saw that {a} was {sad}. \"I will help you,\" said {b}.",
        "\"Do not cry,\" said {b}. \"We will look for it together.\"",
        "{A_he} asked {b} for help, and {b} said yes.",
    ],
    &[
        "They looked for {number} hours.",
        "They looked in the house and they looked {at_place}.",
        "First they looked near the {place}, but it was not there.",
    ],
    &[
        "At last, {b} found the {colour} {thing} {hiding}.",
        "Then {a} saw something {colour} {hiding}. It was the {thing}!",
        "\"Look!\" said {b}. The {thing} was {hiding}.",
    ],
    &[
        "{A} was {glad} and gave {b} a big hug.",
        "\"Thank you, {b},\" said {a}. \"You are a good friend.\"",
    ],
];

const SHARED: &[Beat] = &[
    &[
        "One day, {a} and {b} found {a_full_thing} {at_place}.",
        "{A} and {b} saw {a_full_thing} {hiding}.",
    ],
    &[
        "\"It is mine!\" said {a}.",
        "{A} took the {thing} and ran away.",
        "\"I saw it first,\" said {a}.",
    ],
    &[
        "\"No, it is mine!\" said {b}, and {b_he} was {sad}.",
        "{B} was {sad} because {b_he} wanted to play too.",
        "They pulled and pulled, and {b} fell down.",
    ],
    &[
        "{A_his} {elder} heard them. \"You can share,\" said the {elder}.",
        "The {elder} said, \"A {thing} is more fun with a friend.\"",
    ],
    &[
        "{A} thought about it for a while.",
        "{A} felt sorry.",
        "At first {a} did not want to share.",
    ],
    &[
        "\"You can play with the {thing} first,\" said {a} to {b}.",
        "So {a} gave the {colour} {thing} to {b}.",
        "\"I am sorry, {b},\" said {a}. \"Let us play together.\"",
    ],
    &[
        "They played with the {thing} all day, and both were {glad}.",
        "Now both of them were {glad}.",
    ],
];

const AFRAID: &[Beat] = &[
    &[
        "{A} was afraid of the dark.",
        "At night, {a} could not sleep because it was dark.",
        "When the sun went down, {a} was always afraid.",
    ],
    &[
        "One night, {a_he} heard a noise {hiding}.",
        "Then there was a loud noise near the {place}.",
        "Something moved {hiding}.",
    ],
    &[
        "\"Is it a monster?\" {a_he} asked.",
        "{A} hid and did not move.",
        "{A_his} heart went very fast.",
    ],
    &[
        "{A_his} {elder} came with a light. \"Let us look together,\" said the {elder}.",
        "But {a} took a light and went to look.",
        "{A} wanted to be brave, so {a_he} opened the door.",
    ],
    &[
        "It was only {b}, who had lost {b_his} {thing}!",
        "There sat a {b_kind}. It was {b}, and {b_he} was afraid too.",
        "It was not a monster. It was {b}!",
    ],
    &["{A} laughed, and {b} laughed too.", "\"I thought you were a monster,\" said {a}."],
    &[
        "After that, {a} was not afraid of the dark.",
        "Now {a} knew that the dark was only the day asleep.",
    ],
];

const STORM: &[Beat] = &[
    &[
        "One {weather} day, {a} and {b} were far from home.",
        "{A} and {b} were playing {at_place} when the sky became dark.",
    ],
    &[
        "A big storm came.",
        "The wind blew and the rain fell.",
        "It began to rain, and the wind was very loud.",
    ],
    &[
        "\"We must find a dry place,\" said {b}.",
        "\"I am cold,\" said {a}. \"What can we do?\"",
        "The wind took {a_his} {colour} {thing} away.",
    ],
    &[
        "They ran to an old barn and waited there.",
        "They found a small cave {hiding} and went in.",
        "{A} saw a light, and they ran to a little house.",
    ],
    &[
        "{A} told a story about a {thing}, and {b} was not afraid any more.",
        "They sang songs until the storm was over.",
        "They shared the {food} that {a} had in {a_his} bag.",
    ],
    &[
        "Then the sun came out, and there was a rainbow.",
        "Soon the storm was over and the birds sang.",
    ],
    &[
        "When they came home, the {elder} was {glad}.",
        "{A_his} {elder} ran to meet them. \"I was so {sad},\" said the {elder}.",
    ],
];

const RACE: &[Beat] = &[
    &[
        "There was a race {at_place}, and the prize was {a_full_thing}.",
        "\"Let us race to the {place},\" said {b} one day.",
    ],
    &[
        "{B} was very fast. \"I will win,\" said {b}.",
        "{B} laughed at {a}. \"You are too slow,\" {b_he} said.",
        "Everyone thought that {b} would win.",
    ],
    &["One, two, three, go!", "They started to run.", "The {elder} said, \"Go!\" and they ran."],
    &[
        "{B} ran so fast that {b_he} did not see a stone and fell.",
        "{B} was tired and sat down under a tree.",
        "{B} was far ahead, but then {b_he} hurt {b_his} foot.",
    ],
    &[
        "{A} could win now, but {a_he} stopped and helped {b}.",
        "{A} stopped. \"Are you hurt?\" {a_he} asked.",
        "{A} did not run past. {A_he} gave {b} {a_his} hand.",
    ],
    &[
        "They walked to the end together, and both of them won.",
        "They came in last, but everyone clapped for them.",
    ],
    &["\"You are a true friend,\" said {b}.", "{B} was sorry that {b_he} had laughed."],
];

const BAKING: &[Beat] = &[
    &[
        "{A} wanted to make {food} for {a_his} {elder}.",
        "It was a special day, and {a} wanted to make {food}.",
    ],
    &[
        "{A_he} needed {number} eggs, but there were none in the house.",
        "But there was no milk and no flour in the house.",
    ],
    &[
        "So {a_he} went to {b} and asked for help.",
        "\"I can help you,\" said {b} and went to the market.",
    ],
    &[
        "{B} brought the eggs in {a_full_thing}.",
        "On the way home, {b} fell, and everything went on the floor.",
        "They mixed and they stirred, and soon they were all white with flour.",
    ],
    &[
        "The {food} smelled very good.",
        "They waited and waited.",
        "At first the {food} was too hot to eat.",
    ],
    &[
        "When the {elder} came home, {a} said, \"Surprise!\"",
        "\"Who made this?\" asked the {elder}. \"We did!\" said {a} and {b}.",
    ],
    &["The {elder} ate it all and was {glad}.", "It was the best {food} in the world."],
];

const SECRET: &[Beat] = &[
    &[
        "At the {place}, {a} saw {a_full_thing} {hiding}.",
        "One {weather} day, {a} found {a_full_thing} {hiding}.",
    ],
    &[
        "When {a} touched the {thing}, it began to sing.",
        "\"Please help me,\" said the {thing}. It could talk!",
        "Inside the {thing} was an old map.",
    ],
    &[
        "{A} could not believe it.",
        "{A} ran to {b} and told {b_him} everything.",
        "\"Is it magic?\" asked {a}.",
    ],
    &[
        "\"We should ask who it belongs to,\" said {b}.",
        "{B} said, \"Let us keep it a secret.\"",
        "They asked everyone {at_place} about it.",
    ],
    &[
        "An old man said, \"That is my {thing}! I lost it {number} years ago.\"",
        "Then the {elder} told them that it belonged to a queen.",
    ],
    &[
        "{A} gave the {colour} {thing} back.",
        "It was hard, but {a} did the right thing and gave it back.",
    ],
    &[
        "The old man was {glad} and gave them {food}.",
        "\"You are {quality},\" said the old man, \"and I thank you.\"",
    ],
];

const BROKEN: &[Beat] = &[
    &[
        "{A_his} {elder} had {a_full_thing} and loved it very much.",
        "On the table stood {a_full_thing}. \"Do not touch it,\" said the {elder}.",
    ],
    &[
        "But {a} wanted to play with it.",
        "{A} only wanted to look at it.",
        "When nobody was there, {a} took it.",
    ],
    &[
        "It fell down and broke.",
        "Crash! The {thing} was broken.",
        "The {thing} fell and broke in {number} pieces.",
    ],
    &[
        "{A} was {sad} and hid the pieces {hiding}.",
        "\"Oh no,\" said {a}. \"What will I say?\"",
        "\"You must tell the truth,\" said {b}.",
    ],
    &[
        "{A} went to the {elder} and said, \"I broke your {thing}. I am sorry.\"",
        "In the evening, {a} told the {elder} the truth.",
    ],
    &[
        "The {elder} was not angry. \"Thank you for telling me,\" said the {elder}.",
        "The {elder} was {sad} but said, \"It is good that you told me.\"",
    ],
    &["Together they mended the {colour} {thing}.", "They fixed it, and it was almost like new."],
];

const RIVER: &[Beat] = &[
    &[
        "{A} wanted to cross the river.",
        "On the other side of the river were {number} trees with sweet fruit.",
    ],
    &["But the water was deep, and {a} could not swim.", "But there was no bridge."],
    &[
        "{B} could swim very well. \"Sit on my back,\" said {b}.",
        "{B} said, \"We can build a boat.\"",
        "\"We can use the {colour} {thing},\" said {b}.",
    ],
    &[
        "In the middle of the river, the water was fast.",
        "It was not easy, and they were wet and cold.",
    ],
    &[
        "\"Hold on!\" said {b}.",
        "{A} held on and closed {a_his} eyes.",
        "{A} was afraid, but {a_he} did not let go.",
    ],
    &["At last they came to the other side.", "Then they were across, and both of them cheered."],
    &["They ate the sweet fruit and were {glad}.", "\"We did it together,\" said {a}."],
];

const BIRD: &[Beat] = &[
    &[
        "One day, {a} found a little bird {hiding}.",
        "A little bird sat {hiding} and could not fly.",
    ],
    &["Its wing was hurt.", "It was cold and hungry.", "The bird was {sad} and made no sound."],
    &[
        "{A} put it in {a_full_thing} and took it home.",
        "\"Poor bird,\" said {a}. \"I will take care of you.\"",
    ],
    &[
        "Every day, {a} and {b} gave it water and bread.",
        "{B} brought it seeds, and {a} sang to it.",
        "They made a warm bed for the bird.",
    ],
    &[
        "After {number} weeks, the bird could fly again.",
        "One {weather} morning, the bird opened its wings.",
    ],
    &[
        "{A} was {sad} to see it go, but {a_he} opened the window.",
        "\"It must be free,\" said {b}. {A} knew that {b} was right.",
    ],
    &[
        "In spring, the bird came back and sang for them.",
        "The bird sang a song and flew over the {place}.",
    ],
];

const BOAST: &[Beat] = &[
    &[
        "{B} said, \"I can do anything better than you.\"",
        "{B} always said that {b_he} was the best.",
    ],
    &[
        "\"I can climb the tallest tree {at_place},\" said {b}.",
        "\"I can jump over that wall,\" said {b}.",
    ],
    &["{A} said, \"Please be careful.\"", "\"Do not do it,\" said {a}. \"It is not safe.\""],
    &["But {b} did not listen.", "{B} only laughed.", "{B} did it all the same."],
    &[
        "Soon {b} was stuck and could not get down.",
        "Then {b} fell and lost {b_his} {colour} {thing}.",
    ],
    &[
        "\"Help me!\" called {b}. {A} ran to get the {elder}.",
        "{A} found a rope and helped {b_him}.",
    ],
    &[
        "\"I should have listened to you,\" said {b}.",
        "{B} learned to be careful, and {a} was {glad}.",
    ],
];

const GIFT: &[Beat] = &[
    &[
        "It was the birthday of {b}.",
        "{B} had a birthday and asked {a} to come.",
        "Soon it would be the birthday of {b}.",
    ],
    &[
        "{A} wanted to give {b} {a_full_thing}, but {a_he} had no money.",
        "{A} did not know what to give.",
    ],
    &[
        "So {a_he} helped the {elder} {at_place} for {number} days.",
        "\"You can make something,\" said the {elder}.",
    ],
    &[
        "{A} worked hard and made {a_full_thing}.",
        "At last, {a} had enough and bought {a_full_thing}.",
    ],
    &[
        "{A_he} put it in a box and ran to the house of {b}.",
        "At the party, there was {food} and music.",
    ],
    &[
        "{B} opened the box and saw the {thing}. \"It is so nice!\" {b_he} said.",
        "\"Did you do this for me?\" asked {b}. \"Yes,\" said {a}.",
    ],
    &[
        "{B} was {glad} and gave {a} a big piece of cake.",
        "It was the best gift of all, because it came from a friend.",
    ],
];
